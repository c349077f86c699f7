# A kernel source's name says which instruction set it is compiled for: NAME_avx2.cpp, NAME_avx_vnni.cpp,
# NAME_avx512.cpp, NAME_avx512_vnni.cpp, NAME_amx.cpp; all other sources get the platform's baseline. The lists that
# core/kernels/kernel_list.h speaks of choose among them when the program runs. Such a file must define nothing inline
# that others could share (no standard containers or algorithms): the linker might keep the copy that only a newer CPU can run.
set(THIMBLE_AVX2_FLAGS -mavx2 -mfma)
set(THIMBLE_AVX_VNNI_FLAGS ${THIMBLE_AVX2_FLAGS} -mavxvnni)
# (g++ 12 warns of its own AVX-512 header: GCC bug 105593.)
set(THIMBLE_AVX512_FLAGS ${THIMBLE_AVX2_FLAGS} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
set(THIMBLE_AVX512_VNNI_FLAGS ${THIMBLE_AVX512_FLAGS} -mavx512vnni)
set(THIMBLE_AMX_FLAGS ${THIMBLE_AVX512_VNNI_FLAGS} -mamx-tile -mamx-int8 -mamx-bf16)

# The second level of optimization in place of the third, CMake's own for Release, with the loops vectorized that g++ 12
# leaves there (clang++ does not).
set(THIMBLE_LEVEL_2 "$<$<CONFIG:Release>:-O2;$<$<CXX_COMPILER_ID:GNU>:-fvect-cost-model=dynamic>>")

function(thimble_kernel_options target)
  get_target_property(sources ${target} SOURCES)
  foreach(isa avx2 avx_vnni avx512 avx512_vnni amx)
    set(isa_sources ${sources})
    list(FILTER isa_sources INCLUDE REGEX "kernels/.*_${isa}\\.cpp$")
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
      string(TOUPPER ${isa} flags)
      set_source_files_properties(${isa_sources} PROPERTIES COMPILE_OPTIONS "${THIMBLE_${flags}_FLAGS}")
    else()
      list(REMOVE_ITEM sources ${isa_sources})
    endif()
  endforeach()
  set_target_properties(${target} PROPERTIES SOURCES "${sources}")
  # What copies and reduces arrays of any type is many loops, most of them seldom run, and what packs bfloat16 leaves its
  # loops to others: as fast at the second level of optimization in a third to two thirds of the code.
  set(many_loops ${sources})
  list(FILTER many_loops INCLUDE REGEX
       "kernels/(elementwise/(copy|indexing|integer_binary|number_functions|scatter)|gemm/(bf16_(gemm|pack)|integer_gemm)|reduce/(argmax|fold|histogram|lines|reduce)|image/(bf16_conv2d|pool)|training/fake_quantize)\\.cpp$")
  set_property(SOURCE ${many_loops} APPEND PROPERTY COMPILE_OPTIONS ${THIMBLE_LEVEL_2})
endfunction()
