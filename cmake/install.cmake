# cmake --install build --prefix P: headers, the two libraries, the program, the console, a CMake
# package and pkg-config files.
include(CMakePackageConfigHelpers)

foreach(name base engine)
  if(NOT TARGET wellspring_${name})
    return()
  endif()
  add_library(wellspring::${name} ALIAS wellspring_${name})
  target_include_directories(wellspring_${name} INTERFACE
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/wellspring>)
  target_compile_features(wellspring_${name} INTERFACE cxx_std_20)
  set_target_properties(wellspring_${name} PROPERTIES EXPORT_NAME ${name})
endforeach()

install(TARGETS wellspring wellspring-launch wellspring_base wellspring_tls wellspring_engine EXPORT wellspring
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} LIBRARY DESTINATION lib)
install(EXPORT wellspring NAMESPACE wellspring:: DESTINATION lib/cmake/wellspring
  FILE wellspring-targets.cmake)

# What the controller serves to browsers.
install(DIRECTORY web/ DESTINATION ${CMAKE_INSTALL_DATADIR}/wellspring/web
  PATTERN "testing" EXCLUDE PATTERN "chat" EXCLUDE PATTERN "*.py" EXCLUDE PATTERN "*.pyc" EXCLUDE PATTERN "*.md" EXCLUDE PATTERN "__pycache__" EXCLUDE)

# The public headers, as their folders stand: #include "ops/softmax.h".
foreach(folder base tensor ops nn models text data train serve eval)
  if(IS_DIRECTORY ${CMAKE_SOURCE_DIR}/${folder})
    install(DIRECTORY ${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/wellspring
      FILES_MATCHING PATTERN "*.h"
      PATTERN "test*" EXCLUDE PATTERN "reference" EXCLUDE PATTERN "schema" EXCLUDE
      PATTERN "cases*" EXCLUDE PATTERN "check.h" EXCLUDE PATTERN "http_stream.h" EXCLUDE PATTERN "http_route.h" EXCLUDE
      PATTERN "config_node.h" EXCLUDE PATTERN "threads_pool.h" EXCLUDE PATTERN "database_back.h" EXCLUDE
      PATTERN "database_libpq.h" EXCLUDE
      PATTERN "tls_*.h" EXCLUDE
      PATTERN "random_calls.h" EXCLUDE PATTERN "random_entries.h" EXCLUDE)
  endif()
endforeach()
install(DIRECTORY ${CMAKE_BINARY_DIR}/generated/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/wellspring
  FILES_MATCHING PATTERN "*.h")

write_basic_package_version_file(${CMAKE_BINARY_DIR}/wellspring-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_SOURCE_DIR}/cmake/wellspring-config.cmake
  ${CMAKE_BINARY_DIR}/wellspring-config-version.cmake DESTINATION lib/cmake/wellspring)

# pkg-config files find the tree by their own place, so an installed tree may be moved.
foreach(name base engine)
  set(requires "Requires: nlohmann_json\n")
  set(what "the engine-free side: text, data, files, HTTP, threads")
  if(name STREQUAL engine)
    set(requires "Requires: wellspring-base\n")
    set(what "tensors, operators, models, training and generation")
  endif()
  file(WRITE ${CMAKE_BINARY_DIR}/wellspring-${name}.pc
"prefix=\${pcfiledir}/../..
libdir=\${prefix}/lib
includedir=\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}/wellspring

Name: wellspring-${name}
Description: Wellspring: ${what}
Version: ${PROJECT_VERSION}
${requires}Cflags: -I\${includedir}
Libs: -L\${libdir} -lwellspring_${name}
")
  install(FILES ${CMAKE_BINARY_DIR}/wellspring-${name}.pc DESTINATION lib/pkgconfig)
endforeach()
