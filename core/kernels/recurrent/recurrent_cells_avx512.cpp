#include <thimble/core/kernels/recurrent/recurrent_cells_floats.h>

namespace thimble::kernels {

constinit const RecurrentCells<float> recurrent_cells_avx512 = recurrent_cells_of<FloatCells<64>>();

}  // namespace thimble::kernels
