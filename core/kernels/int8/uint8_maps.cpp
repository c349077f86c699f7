#include <algorithm>

#include <thimble/core/kernels/int8/uint8_maps.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {
constexpr int64_t kGrain = 65536;  // bytes that are worth another thread

template <typename F>
void map(const uint8_t* x, int64_t n, uint8_t* out, F f) {
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] = f(x[i]);
  });
}
}  // namespace

void clamp(const uint8_t* x, int64_t n, uint8_t low, uint8_t high, uint8_t* out) {
  map(x, n, out, [=](uint8_t v) { return std::min(std::max(v, low), high); });
}

void look_up(const uint8_t* x, int64_t n, const uint8_t* table, uint8_t* out) {
  map(x, n, out, [=](uint8_t v) { return table[v]; });
}

}  // namespace thimble::kernels
