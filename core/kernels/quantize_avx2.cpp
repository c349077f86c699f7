#include <thimble/core/kernels/quantize_loops.h>

namespace thimble::kernels {

const QuantizeKernels quantize_avx2 = kQuantizeKernels;

}  // namespace thimble::kernels
