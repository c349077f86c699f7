#include <thimble/core/kernels/reduce/normalize_loops.h>

namespace thimble::kernels {

constinit const NormalizeRows<float> normalize_avx2 = normalize_rows_of<32>();

}  // namespace thimble::kernels
