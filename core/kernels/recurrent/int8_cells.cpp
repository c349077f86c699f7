#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/kernels/recurrent/int8_cells.h>

namespace thimble::kernels {

namespace {

constexpr KernelOf<const Int8Cells*> kInt8Cells[] = {THIMBLE_X86_KERNELS(
    {Isa::avx512, &int8_cells_avx512}, {Isa::avx2, &int8_cells_avx2}){Isa::scalar, &int8_cells_scalar}};

}  // namespace

const Int8Cells& int8_cells() { return *best_kernel<kInt8Cells>(); }

}  // namespace thimble::kernels
