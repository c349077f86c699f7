#include <thimble/core/kernels/elementwise/elementwise_loops.h>

namespace thimble::kernels {

constinit const ElementwiseTable elementwise_avx512 = kTable<64>;

}  // namespace thimble::kernels
