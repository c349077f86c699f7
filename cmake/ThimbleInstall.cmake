# cmake --install: library, headers, find_package(thimble), pkg-config file.
include(CMakePackageConfigHelpers)

install(TARGETS thimble EXPORT thimbleTargets)
install(EXPORT thimbleTargets NAMESPACE thimble:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/thimble)
# Kernels, and headers that call themselves internal, are the library's own affair.
file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR} core/*.h nn/*.h quant/*.h serialization/*.h)
list(FILTER headers EXCLUDE REGEX "^core/kernels/")
if(NOT THIMBLE_IMAGES)
  list(FILTER headers EXCLUDE REGEX "^nn/images/")
endif()
foreach(header IN ITEMS thimble.h LISTS headers)
  file(READ ${header} head LIMIT 1000)
  string(REGEX REPLACE "#pragma once.*" "" head "${head}")
  if(head MATCHES "Internal")
    continue()
  endif()
  cmake_path(GET header PARENT_PATH folder)
  install(FILES ${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/thimble/${folder})
endforeach()

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/thimbleConfig.cmake.in thimbleConfig.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/thimble)
write_basic_package_version_file(thimbleConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/thimbleConfig.cmake ${PROJECT_BINARY_DIR}/thimbleConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/thimble)

file(RELATIVE_PATH THIMBLE_PC_TO_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(${PROJECT_SOURCE_DIR}/cmake/thimble.pc.in thimble.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/thimble.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
