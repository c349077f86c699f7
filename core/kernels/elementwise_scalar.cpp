#include <thimble/core/kernels/elementwise_loops.h>

namespace thimble::kernels {

constinit const ElementwiseTable elementwise_scalar = kTable;

}  // namespace thimble::kernels
