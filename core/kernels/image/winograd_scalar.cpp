#include <thimble/core/kernels/image/winograd_loops.h>

namespace thimble::kernels {

constinit const WinogradTable winograd_scalar = kWinogradOf<16>;

}  // namespace thimble::kernels
