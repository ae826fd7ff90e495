# find_package(wellspring) gives wellspring::base and wellspring::engine.
include(${CMAKE_CURRENT_LIST_DIR}/wellspring-targets.cmake)
