#include <thimble/core/kernels/image/batch_norm_loops.h>

namespace thimble::kernels {

constinit const BatchNormTable batch_norm_scalar = batch_norm_table<16>();

}  // namespace thimble::kernels
