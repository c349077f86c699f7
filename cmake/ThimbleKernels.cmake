# A kernel source's name says which instruction set it is compiled for: NAME_avx2.cpp, NAME_avx512.cpp,
# NAME_avx512_vnni.cpp, NAME_amx.cpp; all other sources get the platform's baseline. core/platform/isa.h chooses among
# them when the program runs. Such a file must define nothing inline that others could share (no standard containers or algorithms):
# the linker might keep the copy that only a newer CPU can run.
set(THIMBLE_AVX2_FLAGS -mavx2 -mfma)
# (g++ 12 warns of its own AVX-512 header: GCC bug 105593.)
set(THIMBLE_AVX512_FLAGS ${THIMBLE_AVX2_FLAGS} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
set(THIMBLE_AVX512_VNNI_FLAGS ${THIMBLE_AVX512_FLAGS} -mavx512vnni)
set(THIMBLE_AMX_FLAGS ${THIMBLE_AVX512_VNNI_FLAGS} -mamx-tile -mamx-int8)

function(thimble_kernel_options target)
  get_target_property(sources ${target} SOURCES)
  # Loops over raw pointers are worth the third level of optimization.
  set(kernel_sources ${sources})
  list(FILTER kernel_sources INCLUDE REGEX "kernels/.*\\.cpp$")
  set_property(SOURCE ${kernel_sources} APPEND PROPERTY COMPILE_OPTIONS $<$<CONFIG:Release>:-O3>)
  set(x86_sources ${sources})
  list(FILTER x86_sources INCLUDE REGEX "kernels/.*_(avx2|avx512|avx512_vnni|amx)\\.cpp$")
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(REMOVE_ITEM sources ${x86_sources})
    set_target_properties(${target} PROPERTIES SOURCES "${sources}")
    return()
  endif()
  foreach(source IN LISTS x86_sources)
    string(REGEX REPLACE "^.*_(avx2|avx512|avx512_vnni|amx)\\.cpp$" "\\1" isa ${source})
    if(source MATCHES "_avx512_vnni\\.cpp$")
      set(isa avx512_vnni)
    endif()
    string(TOUPPER ${isa} isa)
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${THIMBLE_${isa}_FLAGS}")
  endforeach()
endfunction()
