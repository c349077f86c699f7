#include <thimble/core/kernels/reduce/softmax_loops.h>

namespace thimble::kernels {

constinit const SoftmaxRows<float> softmax_avx2 = softmax_rows<32>();

}  // namespace thimble::kernels
