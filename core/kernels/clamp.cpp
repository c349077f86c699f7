#include <algorithm>

#include <thimble/core/kernels/clamp.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

void clamp(const uint8_t* x, int64_t n, uint8_t low, uint8_t high, uint8_t* out) {
  constexpr int64_t kGrain = 262144;  // bytes that are worth another thread
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] = std::min(std::max(x[i], low), high);
  });
}

}  // namespace thimble::kernels
