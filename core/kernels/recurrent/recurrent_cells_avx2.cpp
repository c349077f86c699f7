#include <thimble/core/kernels/recurrent/recurrent_cells_floats.h>

namespace thimble::kernels {

constinit const RecurrentCells<float> recurrent_cells_avx2 = recurrent_cells_of<FloatCells<32>>();

}  // namespace thimble::kernels
