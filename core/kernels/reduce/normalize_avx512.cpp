#include <thimble/core/kernels/reduce/normalize_loops.h>

namespace thimble::kernels {

constinit const NormalizeRows<float> normalize_avx512 = normalize_rows_of<64>();

}  // namespace thimble::kernels
