#include <thimble/core/kernels/int8/uint8_loops.h>

namespace thimble::kernels {

const Uint8Kernels uint8_scalar{look_up_each, clamp_each, add_each, maximum_each,
                                minimum_each, mul_each,   sum_each, mean_each};

}  // namespace thimble::kernels
