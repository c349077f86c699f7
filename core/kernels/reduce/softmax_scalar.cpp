#include <thimble/core/kernels/reduce/softmax_loops.h>

namespace thimble::kernels {

constinit const SoftmaxRows<float> softmax_scalar = softmax_rows<16>();

}  // namespace thimble::kernels
