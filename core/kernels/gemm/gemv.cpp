#include <thimble/core/kernels/gemm/gemv.h>
#include <thimble/core/kernels/kernel_list.h>

namespace thimble::kernels {

namespace {

constexpr KernelOf<const GemvTable*> kKernels[] = {
    THIMBLE_X86_KERNELS({Isa::avx512, &gemv_avx512}, {Isa::avx2, &gemv_avx2}){Isa::scalar, &gemv_scalar}};

}  // namespace

void gemv(const Gemv& task) {
  const GemvTable& table = *best_kernel<kKernels>();
  task.col_stride == 1 ? table.dense_rows(task) : table.dense_columns(task);
}

}  // namespace thimble::kernels
