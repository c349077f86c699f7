#include <thimble/core/kernels/int8/quantized_group_norm_loops.h>

namespace thimble::kernels {

const QuantizedGroupNormRows quantized_group_norm_scalar = kQuantizedGroupNormRows;

}  // namespace thimble::kernels
