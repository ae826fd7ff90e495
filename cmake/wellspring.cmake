# Helpers of the build. A folder's sources, tests and fuzz targets are found by name:
#   x.cpp in the library, x_test.cpp in FOLDER_test, x_fuzz.cpp a fuzz target of its own.

function(ws_sources out)
  set(all)
  foreach(folder ${ARGN})
    file(GLOB found CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*.cpp)
    list(FILTER found EXCLUDE REGEX "_(test|fuzz|bench)\\.cpp$")
    list(APPEND all ${found})
  endforeach()
  set(${out} ${all} PARENT_SCOPE)
endfunction()

# ws_together(TARGET): most of compiling is reading headers, so sources are compiled several at once.
# Their anonymous namespaces then meet: a name may stand in one of them only.
function(ws_together target)
  if(WELLSPRING_UNITY)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 6)
    # An included source is no header: its classes may hold what its anonymous namespace has.
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
  endif()
endfunction()

# ws_headers_once(TARGET HEADER...): headers that are read once for all sources of a target. Only beside
# ws_together: other builds see whether each source includes what it uses.
function(ws_headers_once target)
  if(WELLSPRING_UNITY)
    target_precompile_headers(${target} PRIVATE ${ARGN})
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)  # for ccache
  endif()
endfunction()

# ws_cold(TARGET SOURCE...): sources of TARGET in which no time is spent, optimised less: quicker to compile.
function(ws_cold target)
  add_library(${target}_cold OBJECT ${ARGN})
  ws_together(${target}_cold)
  if(CMAKE_BUILD_TYPE STREQUAL "Release")
    target_compile_options(${target}_cold PRIVATE -O1)
  endif()
  target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_cold>)
endfunction()

# ws_test(FOLDER LIBRARY...): builds FOLDER_test from FOLDER/*_test.cpp and registers it with ctest.
function(ws_test folder)
  if(NOT WELLSPRING_TESTS)
    return()
  endif()
  file(GLOB found CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*_test.cpp)
  if(NOT found)
    return()
  endif()
  string(REPLACE "/" "_" name ${folder})
  add_executable(${name}_test ${found})
  target_link_libraries(${name}_test PRIVATE ${ARGN} GTest::gtest GTest::gtest_main)
  if(NOT WELLSPRING_SANITIZE AND NOT name STREQUAL "text")
    target_compile_options(${name}_test PRIVATE -O0)  # what they call is optimised; a quarter less to compile
  endif()
  if(NOT name STREQUAL "ops")  # its files use the same short names, each for itself
    ws_together(${name}_test)
  endif()
  set_target_properties(${name}_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name}_test WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS ${name}
    ENVIRONMENT "WELLSPRING_BINARY=${CMAKE_BINARY_DIR}/bin/wellspring")
endfunction()

# ws_fuzz_target(NAME SOURCE LIBRARY...): one libFuzzer program (preset fuzz, clang).
function(ws_fuzz_target name source)
  add_executable(${name} ${source})
  target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_libraries(${name} PRIVATE ${ARGN})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
endfunction()

# ws_fuzz(FOLDER LIBRARY...): a fuzz target for each FOLDER/*_fuzz.cpp; of one beside which a list of families stands
# (ops/random_families.inc), a target for each family.
function(ws_fuzz folder)
  if(NOT WELLSPRING_FUZZ)
    return()
  endif()
  file(GLOB found CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*_fuzz.cpp)
  foreach(source ${found})
    get_filename_component(name ${source} NAME_WE)
    if(NOT name STREQUAL "random_calls_fuzz")
      ws_fuzz_target(${name} ${source} ${ARGN})
      continue()
    endif()
    set(list ${CMAKE_SOURCE_DIR}/${folder}/random_families.inc)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${list})
    file(STRINGS ${list} families REGEX "^WS_FAMILY")
    foreach(line ${families})
      string(REGEX REPLACE "^WS_FAMILY\\(([a-z]+),.*" "\\1" family ${line})
      ws_fuzz_target(${family}_fuzz ${source} ${ARGN})
      target_compile_definitions(${family}_fuzz PRIVATE WS_FUZZ_FAMILY="${family}")
    endforeach()
  endforeach()
endfunction()
