#include <thimble/core/kernels/float_vectors.h>
#include <thimble/core/kernels/image/depthwise_loops.h>

namespace thimble::kernels {

constinit const DepthwiseTable depthwise_scalar = kDepthwiseOf<Scalar<float>, Scalar<double>>;

}  // namespace thimble::kernels
