#include <thimble/core/kernels/elementwise/elementwise_loops.h>

namespace thimble::kernels {

constinit const ElementwiseTable elementwise_avx2 = kTable<32>;

}  // namespace thimble::kernels
