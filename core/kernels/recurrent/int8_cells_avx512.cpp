#include <thimble/core/kernels/recurrent/int8_cells_loops.h>

namespace thimble::kernels {

constinit const Int8Cells int8_cells_avx512 = int8_cells_of<64>();

}  // namespace thimble::kernels
