#include <thimble/core/kernels/image/winograd_loops.h>

namespace thimble::kernels {

constinit const WinogradTable winograd_avx2 = kWinogradOf<32>;

}  // namespace thimble::kernels
