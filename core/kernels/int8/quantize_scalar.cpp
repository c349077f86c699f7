#include <thimble/core/kernels/int8/quantize_loops.h>

namespace thimble::kernels {

const QuantizeKernels quantize_scalar = kQuantizeKernels;

}  // namespace thimble::kernels
