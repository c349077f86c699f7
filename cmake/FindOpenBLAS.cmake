# OpenBLAS::headers, from its pkg-config file: the library itself is loaded when it is first called (core/kernels/blas.h),
# by the name THIMBLE_OPENBLAS.
find_package(PkgConfig REQUIRED QUIET)
pkg_check_modules(OPENBLAS QUIET openblas)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(OpenBLAS REQUIRED_VARS OPENBLAS_LINK_LIBRARIES VERSION_VAR OPENBLAS_VERSION
                                  REASON_FAILURE_MESSAGE "install libopenblas-dev and pkg-config, or run scripts/test")

# The library's soname if the loader finds it by that, in the system's folders; else the file's path.
function(thimble_loadable_name library result)
  execute_process(COMMAND ${CMAKE_READELF} -d ${library} OUTPUT_VARIABLE dynamic ERROR_QUIET)
  string(REGEX MATCH "SONAME[^[]*\\[([^]]+)\\]" found "${dynamic}")
  set(soname ${CMAKE_MATCH_1})
  file(REAL_PATH ${library} real)
  set(${result} ${real} PARENT_SCOPE)
  foreach(folder IN LISTS CMAKE_CXX_IMPLICIT_LINK_DIRECTORIES)
    if(found AND EXISTS ${folder}/${soname})
      file(REAL_PATH ${folder}/${soname} installed)
      if(installed STREQUAL real)
        set(${result} ${soname} PARENT_SCOPE)
      endif()
    endif()
  endforeach()
endfunction()

if(OpenBLAS_FOUND AND NOT TARGET OpenBLAS::headers)
  list(GET OPENBLAS_LINK_LIBRARIES 0 library)
  thimble_loadable_name(${library} name)
  set(THIMBLE_OPENBLAS ${name} CACHE STRING "Name or path by which OpenBLAS is loaded when it is first needed")
  add_library(OpenBLAS::headers INTERFACE IMPORTED)
  target_include_directories(OpenBLAS::headers INTERFACE ${OPENBLAS_INCLUDE_DIRS})
endif()
