#include <thimble/core/kernels/elementwise_loops.h>

namespace thimble::kernels {

constinit const ElementwiseTable elementwise_avx512 = kTable;

}  // namespace thimble::kernels
