#include <thimble/core/kernels/image/pool_loops.h>

namespace thimble::kernels {

constinit const PoolTable pool_scalar = pool_table<16>();

}  // namespace thimble::kernels
