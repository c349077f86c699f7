#include <thimble/core/kernels/reduce/min_max_loops.h>

namespace thimble::kernels {

constinit const MinMaxRows min_max_scalar = min_max_rows<16>();

}  // namespace thimble::kernels
