# OpenBLAS::OpenBLAS, from its pkg-config file.
find_package(PkgConfig REQUIRED QUIET)
pkg_check_modules(OPENBLAS QUIET IMPORTED_TARGET openblas)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(OpenBLAS REQUIRED_VARS OPENBLAS_LINK_LIBRARIES VERSION_VAR OPENBLAS_VERSION
                                  REASON_FAILURE_MESSAGE "install libopenblas-dev and pkg-config, or run scripts/test")
if(OpenBLAS_FOUND AND NOT TARGET OpenBLAS::OpenBLAS)
  add_library(OpenBLAS::OpenBLAS ALIAS PkgConfig::OPENBLAS)
endif()
