#include <thimble/core/kernels/recurrent/recurrent_cells_floats.h>

namespace thimble::kernels {

constinit const RecurrentCells<float> recurrent_cells_scalar = recurrent_cells_of<FloatCells<16>>();

}  // namespace thimble::kernels
