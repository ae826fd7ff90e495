# Runs ops/gen.py when a schema changes: headers ops/FAMILY.h, the registry, the out forms, and the
# forms, the kernels and the reference of the pointwise family.
find_program(WELLSPRING_PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH REQUIRED)
file(GLOB schemas CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/ops/schema/*.yaml)
set(generated_dir ${CMAKE_BINARY_DIR}/generated/ops)
set(generated_headers)
foreach(schema ${schemas})
  get_filename_component(family ${schema} NAME_WE)
  list(APPEND generated_headers ${generated_dir}/${family}.h)
endforeach()
set(generated_sources ${generated_dir}/registry.cpp ${generated_dir}/out_forms.cpp ${generated_dir}/pointwise_forms.cpp
    ${generated_dir}/pointwise_reference.cpp)
set(generated_kernels)
foreach(part RANGE 7)
  list(APPEND generated_kernels ${generated_dir}/pointwise_kernels_${part}.cpp)
endforeach()
set(device_units)
foreach(part RANGE 31)
  list(APPEND device_units ${generated_dir}/pointwise_${part}.inc)
endforeach()
list(APPEND generated_sources ${generated_dir}/pointwise_device.cpp)
set(generators ${CMAKE_SOURCE_DIR}/ops/gen.py ${CMAKE_SOURCE_DIR}/ops/gen_out.py ${CMAKE_SOURCE_DIR}/ops/gen_pointwise.py)
add_custom_command(
  OUTPUT ${generated_headers} ${generated_sources} ${generated_kernels} ${device_units}
  COMMAND ${WELLSPRING_PYTHON} ${CMAKE_SOURCE_DIR}/ops/gen.py ${generated_dir} ${schemas}
  DEPENDS ${generators} ${schemas}
  COMMENT "Operators from ops/schema")
set(measured ${CMAKE_SOURCE_DIR}/bench/results/operators.json ${CMAKE_SOURCE_DIR}/bench/results/attention.json)
add_custom_command(
  OUTPUT ${generated_dir}/speed.cpp
  COMMAND ${WELLSPRING_PYTHON} ${CMAKE_SOURCE_DIR}/ops/gen_speed.py ${generated_dir}/speed.cpp ${measured}
  DEPENDS ${CMAKE_SOURCE_DIR}/ops/gen_speed.py ${measured}
  COMMENT "Measured speed of operators")
add_custom_target(ops_generated DEPENDS ${generated_headers} ${generated_sources}
                  ${generated_kernels})
# The device source, by hand and generated, travels inside the library.
file(GLOB device_source CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/chips/device/source/*.inc)
list(APPEND device_source ${CMAKE_SOURCE_DIR}/ops/device_math.inc ${device_units})
set(embedded ${CMAKE_BINARY_DIR}/generated/device_sources.cpp)
add_custom_command(
  OUTPUT ${embedded}
  COMMAND ${WELLSPRING_PYTHON} ${CMAKE_SOURCE_DIR}/chips/device/embed.py ${embedded} ${device_source}
  DEPENDS ${device_source} ${CMAKE_SOURCE_DIR}/chips/device/embed.py
  COMMENT "Device source")
target_sources(wellspring_engine PRIVATE ${generated_sources} ${generated_dir}/speed.cpp ${embedded})
add_dependencies(wellspring_engine ops_generated)
add_dependencies(wellspring_engine_cold ops_generated)
foreach(isa portable avx2 avx512)
  if(TARGET kernels_${isa})
    target_sources(kernels_${isa} PRIVATE ${generated_kernels})
    add_dependencies(kernels_${isa} ops_generated)
  endif()
endforeach()
