#include <thimble/core/kernels/image/batch_norm_loops.h>

namespace thimble::kernels {

constinit const BatchNormTable batch_norm_avx2 = batch_norm_table<32>();

}  // namespace thimble::kernels
