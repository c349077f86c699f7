#include <thimble/core/kernels/elementwise/elementwise_loops.h>

namespace thimble::kernels {

constinit const ElementwiseTable elementwise_scalar = kTable;

}  // namespace thimble::kernels
