#include <thimble/core/kernels/image/winograd_loops.h>

namespace thimble::kernels {

constinit const WinogradTable winograd_avx512 = kWinogradOf<64>;

}  // namespace thimble::kernels
