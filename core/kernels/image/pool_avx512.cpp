#include <thimble/core/kernels/image/pool_loops.h>

namespace thimble::kernels {

constinit const PoolTable pool_avx512 = pool_table<64>();

}  // namespace thimble::kernels
