# OpenBLAS::headers, from its pkg-config file: the library itself is loaded when it is first called
# (core/kernels/gemm/blas.h), by the name THIMBLE_OPENBLAS.
find_package(PkgConfig REQUIRED QUIET)
pkg_check_modules(OPENBLAS QUIET openblas)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(OpenBLAS REQUIRED_VARS OPENBLAS_LINK_LIBRARIES VERSION_VAR OPENBLAS_VERSION
                                  REASON_FAILURE_MESSAGE "install libopenblas-dev and pkg-config, or run scripts/test")

# The library's soname if the loader finds it by that, in the system's folders; else with the folder that it is in. Not
# the file's own name, which changes with each release.
function(thimble_loadable_name library result)
  execute_process(COMMAND ${CMAKE_READELF} -d ${library} OUTPUT_VARIABLE dynamic ERROR_QUIET)
  if(NOT dynamic MATCHES "SONAME[^[]*\\[([^]]+)\\]")
    message(FATAL_ERROR "${library} is no shared library: install libopenblas0, or give -DTHIMBLE_OPENBLAS=<path>")
  endif()
  set(soname ${CMAKE_MATCH_1})
  cmake_path(GET library PARENT_PATH own_folder)
  set(${result} ${own_folder}/${soname} PARENT_SCOPE)
  file(REAL_PATH ${library} real)
  # The compiler adds LIBRARY_PATH's folders, where the loader does not look.
  set(folders ${CMAKE_CXX_IMPLICIT_LINK_DIRECTORIES})
  string(REPLACE ":" ";" not_loaded_from "$ENV{LIBRARY_PATH}")
  list(REMOVE_ITEM folders ${not_loaded_from})
  foreach(folder IN LISTS folders)
    if(EXISTS ${folder}/${soname})
      file(REAL_PATH ${folder}/${soname} installed)
      if(installed STREQUAL real)
        set(${result} ${soname} PARENT_SCOPE)
      endif()
    endif()
  endforeach()
endfunction()

if(OpenBLAS_FOUND AND NOT TARGET OpenBLAS::headers)
  if(NOT THIMBLE_OPENBLAS)
    set(libraries ${OPENBLAS_LINK_LIBRARIES})
    list(FILTER libraries INCLUDE REGEX openblas)
    list(GET libraries 0 library)
    thimble_loadable_name(${library} name)
    set(THIMBLE_OPENBLAS ${name} CACHE STRING "Name or path by which OpenBLAS is loaded when it is first needed" FORCE)
  endif()
  add_library(OpenBLAS::headers INTERFACE IMPORTED)
  target_include_directories(OpenBLAS::headers INTERFACE ${OPENBLAS_INCLUDE_DIRS})
endif()
