#include <thimble/core/kernels/image/pool_loops.h>

namespace thimble::kernels {

constinit const PoolTable pool_avx2 = pool_table<32>();

}  // namespace thimble::kernels
