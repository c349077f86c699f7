#include <thimble/core/kernels/reduce/normalize_loops.h>

namespace thimble::kernels {

constinit const NormalizeRows<float> normalize_scalar = normalize_rows_of<16>();

}  // namespace thimble::kernels
