#include <thimble/core/kernels/elementwise/bf16_rows.h>
#include <thimble/core/kernels/kernel_list.h>

namespace thimble::kernels {

namespace {

constexpr KernelOf<const Bf16Rows*> kKernels[] = {THIMBLE_X86_KERNELS(
    {Isa::avx512, &bf16_rows_avx512}, {Isa::avx2, &bf16_rows_avx2}){Isa::scalar, &bf16_rows_scalar}};

}  // namespace

const Bf16Rows& bf16_rows() { return *best_kernel<kKernels>(); }

}  // namespace thimble::kernels
