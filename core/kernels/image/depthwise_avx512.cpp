#include <thimble/core/kernels/float_vectors_avx512.h>
#include <thimble/core/kernels/image/depthwise_loops.h>

namespace thimble::kernels {

constinit const DepthwiseTable depthwise_avx512 = kDepthwiseOf<Avx512Float, Avx512Double>;

}  // namespace thimble::kernels
