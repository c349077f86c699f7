#include <thimble/core/kernels/int8/quantized_group_norm_loops.h>

namespace thimble::kernels {

const QuantizedGroupNormRows quantized_group_norm_avx512 = kQuantizedGroupNormRows;

}  // namespace thimble::kernels
