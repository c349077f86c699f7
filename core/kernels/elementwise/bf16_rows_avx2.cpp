#include <thimble/core/kernels/elementwise/bf16_rows_loops.h>

namespace thimble::kernels {

constinit const Bf16Rows bf16_rows_avx2 = bf16_rows_of<32>();

}  // namespace thimble::kernels
