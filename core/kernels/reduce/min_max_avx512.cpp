#include <thimble/core/kernels/reduce/min_max_loops.h>

namespace thimble::kernels {

constinit const MinMaxRows min_max_avx512 = min_max_rows<64>();

}  // namespace thimble::kernels
