#include <thimble/core/kernels/reduce/softmax_loops.h>

namespace thimble::kernels {

constinit const SoftmaxRows<float> softmax_avx512 = softmax_rows<64>();

}  // namespace thimble::kernels
