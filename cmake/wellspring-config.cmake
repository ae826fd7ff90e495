# find_package(wellspring) gives wellspring::base and wellspring::engine.
include(CMakeFindDependencyMacro)
find_dependency(nlohmann_json)  # base/json.h
include(${CMAKE_CURRENT_LIST_DIR}/wellspring-targets.cmake)
