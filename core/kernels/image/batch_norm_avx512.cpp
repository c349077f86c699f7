#include <thimble/core/kernels/image/batch_norm_loops.h>

namespace thimble::kernels {

constinit const BatchNormTable batch_norm_avx512 = batch_norm_table<64>();

}  // namespace thimble::kernels
