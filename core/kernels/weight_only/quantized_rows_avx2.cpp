#include <thimble/core/kernels/weight_only/quantized_rows_loops.h>

namespace thimble::kernels {

const QuantizedRowKernels quantized_rows_avx2 = kQuantizedRowKernels;

}  // namespace thimble::kernels
