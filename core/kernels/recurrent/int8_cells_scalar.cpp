#include <thimble/core/kernels/recurrent/int8_cells_loops.h>

namespace thimble::kernels {

constinit const Int8Cells int8_cells_scalar = int8_cells_of<16>();

}  // namespace thimble::kernels
