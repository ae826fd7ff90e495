# Runs ops/gen.py when a schema changes: headers ops/FAMILY.h, the registry, and the
# forms, the kernels and the reference of the pointwise family.
find_program(WELLSPRING_PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH REQUIRED)
file(GLOB schemas CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/ops/schema/*.yaml)
set(generated_dir ${CMAKE_BINARY_DIR}/generated/ops)
set(generated_headers)
foreach(schema ${schemas})
  get_filename_component(family ${schema} NAME_WE)
  list(APPEND generated_headers ${generated_dir}/${family}.h)
endforeach()
set(generated_sources ${generated_dir}/registry.cpp ${generated_dir}/pointwise_forms.cpp
    ${generated_dir}/pointwise_reference.cpp)
set(generated_kernels)
foreach(part 0 1 2 3)
  list(APPEND generated_kernels ${generated_dir}/pointwise_kernels_${part}.cpp)
endforeach()
file(GLOB generators CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/ops/gen*.py)
add_custom_command(
  OUTPUT ${generated_headers} ${generated_sources} ${generated_kernels}
  COMMAND ${WELLSPRING_PYTHON} ${CMAKE_SOURCE_DIR}/ops/gen.py ${generated_dir} ${schemas}
  DEPENDS ${generators} ${schemas}
  COMMENT "Operators from ops/schema")
add_custom_target(ops_generated DEPENDS ${generated_headers} ${generated_sources}
                  ${generated_kernels})
target_sources(wellspring_engine PRIVATE ${generated_sources})
add_dependencies(wellspring_engine ops_generated)
foreach(isa portable avx2 avx512 avx512bf16)
  if(TARGET kernels_${isa})
    target_sources(kernels_${isa} PRIVATE ${generated_kernels})
    add_dependencies(kernels_${isa} ops_generated)
  endif()
endforeach()
