#include <thimble/core/kernels/float_vectors_avx2.h>
#include <thimble/core/kernels/image/depthwise_loops.h>

namespace thimble::kernels {

constinit const DepthwiseTable depthwise_avx2 = kDepthwiseOf<Avx2Float, Avx2Double>;

}  // namespace thimble::kernels
