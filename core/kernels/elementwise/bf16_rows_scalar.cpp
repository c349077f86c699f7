#include <thimble/core/kernels/elementwise/bf16_rows_loops.h>

namespace thimble::kernels {

constinit const Bf16Rows bf16_rows_scalar = bf16_rows_of<16>();

}  // namespace thimble::kernels
