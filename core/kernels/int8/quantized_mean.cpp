#include <algorithm>

#include <thimble/core/kernels/int8/quantized_mean.h>
#include <thimble/core/kernels/int8/uint8_kernels.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr int64_t kGrain = 256 * 1024;  // elements worth another thread
constexpr int64_t kBlock = 64;          // inner elements that a thread takes at once: a cache line of each row

// Of one sum: along dense elements.
uint32_t sum_of(const uint8_t* x, int64_t n) {
  uint32_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  return sum;
}

void results(const uint32_t* sums, int64_t count, int64_t n, const QuantizedMeanArgs& a, uint8_t* out) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds magnitudes below 2^22 half to even
  const auto scale = static_cast<float>(double{a.scale} / (double{a.output_scale} * static_cast<double>(n)));
  const auto low = static_cast<float>(-a.zero_point), high = static_cast<float>(a.high - a.zero_point);
  for (int64_t i = 0; i < count; ++i) {
    const float v = static_cast<float>(static_cast<int64_t>(sums[i]) - n * a.x_zero_point) * scale;
    const float kept = v > low ? std::min(v, high) : low;  // low for NaN, too, which scales far apart may give
    out[i] = static_cast<uint8_t>(static_cast<int32_t>((kept + kRound) - kRound) + a.zero_point);
  }
}

}  // namespace

void quantized_mean(const uint8_t* x, int64_t outer, int64_t n, int64_t inner, const QuantizedMeanArgs& args,
                    uint32_t* scratch, uint8_t* out) {
  const int64_t blocks = (inner + kBlock - 1) / kBlock, each = n * std::min(inner, kBlock);
  if (blocks == 0) return;
  const auto sum_pixels = uint8_kernels().sum_pixels;
  parallel_for(outer * blocks, kGrain / each + 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t o = i / blocks, first = i % blocks * kBlock, count = std::min(kBlock, inner - first);
      const uint8_t* from = x + o * n * inner + first;
      uint32_t* sums = scratch + o * inner + first;
      if (inner == 1)
        *sums = sum_of(from, n);
      else
        sum_pixels({from, 1, n, n * inner, inner}, count, sums);
      results(sums, count, n, args, out + o * inner + first);
    }
  });
}

}  // namespace thimble::kernels
