# Checks that are no GoogleTest: scripts of the house rules, and every FOLDER/NAME_test.py|sh.
# A script may end with a line "N passed, N failed[, N skipped]"; it gets the build folder as its
# argument, WELLSPRING_BINARY and, where the peers are installed, WELLSPRING_PEERS (their python).
if(NOT WELLSPRING_TESTS)
  return()
endif()

function(ws_script name label)
  add_test(NAME ${name} COMMAND ${ARGN} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS "${label}" SKIP_RETURN_CODE 77
    ENVIRONMENT "WELLSPRING_BINARY=${CMAKE_BINARY_DIR}/bin/wellspring;WELLSPRING_BUILD=${CMAKE_BINARY_DIR}")
endfunction()

find_program(WELLSPRING_PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH REQUIRED)
ws_script(check_layers tools ${WELLSPRING_PYTHON} tools/check_layers)
ws_script(check_layers_self tools ${WELLSPRING_PYTHON} tools/check_layers --self-test)
ws_script(dev_script tools ${CMAKE_SOURCE_DIR}/tools/dev_test.sh)
ws_script(demo_script tools ${WELLSPRING_PYTHON} tools/demo_test.py)
ws_script(links tools ${CMAKE_SOURCE_DIR}/tools/links_test.sh ${CMAKE_BINARY_DIR})
foreach(folder base tensor chips/cpu ops nn text text/grammar text/template data models/decoder train serve eval cli cluster/controller cluster/slurm web tests
        python/tests)
  string(REPLACE "/" "_" label ${folder})
  string(REPLACE "_tests" "" label ${label})
  file(GLOB scripts CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*_test.py
       ${CMAKE_SOURCE_DIR}/${folder}/*_test.sh)
  foreach(script ${scripts})
    get_filename_component(name ${script} NAME_WE)
    set(runner)
    if(script MATCHES "\\.py$")
      set(runner ${WELLSPRING_PYTHON})
    endif()
    ws_script(${label}_${name} ${label} ${runner} ${script} ${CMAKE_BINARY_DIR})
  endforeach()
endforeach()
