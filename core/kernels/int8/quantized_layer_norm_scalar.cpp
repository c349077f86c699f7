#include <thimble/core/kernels/int8/quantized_layer_norm_loops.h>

namespace thimble::kernels {

const QuantizedLayerNormRows quantized_layer_norm_scalar = kQuantizedLayerNormRows;

}  // namespace thimble::kernels
