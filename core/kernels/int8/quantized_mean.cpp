#include <algorithm>
#include <cmath>

#include <thimble/core/kernels/int8/quantized_mean.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr int64_t kGrain = 64 * 1024;  // elements worth another thread

void add(const uint8_t* __restrict x, int64_t n, uint32_t* __restrict sums) {
  for (int64_t i = 0; i < n; ++i) sums[i] += x[i];
}

// Of one sum: along dense elements.
uint32_t sum_of(const uint8_t* x, int64_t n) {
  uint32_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  return sum;
}

void results(const uint32_t* sums, int64_t count, int64_t n, const QuantizedMeanArgs& a, uint8_t* out) {
  const auto scale = static_cast<float>(double{a.scale} / (double{a.output_scale} * static_cast<double>(n)));
  const auto low = static_cast<float>(-a.zero_point), high = static_cast<float>(a.high - a.zero_point);
  for (int64_t i = 0; i < count; ++i) {
    const float v = static_cast<float>(static_cast<int64_t>(sums[i]) - n * a.x_zero_point) * scale;
    const float kept = v > low ? std::min(v, high) : low;  // low for NaN, too, which scales far apart may give
    out[i] = static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(kept)) + a.zero_point);
  }
}

}  // namespace

void quantized_mean(const uint8_t* x, int64_t outer, int64_t n, int64_t inner, const QuantizedMeanArgs& args,
                    uint32_t* scratch, uint8_t* out) {
  if (inner == 0) return;
  const int64_t grain = std::max<int64_t>(1, kGrain / (n * inner));
  parallel_for(outer, grain, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      const uint8_t* from = x + o * n * inner;
      uint32_t* sums = scratch + o * inner;
      std::fill_n(sums, inner, 0u);
      if (inner == 1)
        *sums = sum_of(from, n);
      else
        for (int64_t i = 0; i < n; ++i) add(from + i * inner, inner, sums);
    }
    results(scratch + begin * inner, (end - begin) * inner, n, args, out + begin * inner);
  });
}

}  // namespace thimble::kernels
