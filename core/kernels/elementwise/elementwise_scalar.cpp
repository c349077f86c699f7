#include <thimble/core/kernels/elementwise/elementwise_loops.h>

namespace thimble::kernels {

constinit const ElementwiseTable elementwise_scalar = kTable<16>;

}  // namespace thimble::kernels
