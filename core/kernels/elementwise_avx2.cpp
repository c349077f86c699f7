#include <thimble/core/kernels/elementwise_loops.h>

namespace thimble::kernels {

constinit const ElementwiseTable elementwise_avx2 = kTable;

}  // namespace thimble::kernels
