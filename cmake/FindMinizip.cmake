# Minizip::Minizip, from its pkg-config file.
find_package(PkgConfig REQUIRED QUIET)
pkg_check_modules(MINIZIP QUIET IMPORTED_TARGET minizip)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Minizip REQUIRED_VARS MINIZIP_LINK_LIBRARIES VERSION_VAR MINIZIP_VERSION
                                  REASON_FAILURE_MESSAGE "install libminizip-dev and pkg-config, or run scripts/test")
if(Minizip_FOUND AND NOT TARGET Minizip::Minizip)
  add_library(Minizip::Minizip ALIAS PkgConfig::MINIZIP)
endif()
