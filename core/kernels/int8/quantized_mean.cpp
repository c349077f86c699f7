#include <algorithm>

#include <thimble/core/kernels/int8/quantize_loops.h>
#include <thimble/core/kernels/int8/quantized_mean.h>
#include <thimble/core/kernels/int8/uint8_kernels.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr int64_t kGrain = 256 * 1024;           // elements worth another thread
constexpr int64_t kBlock = 64;                   // inner elements that a thread takes at once: a cache line of each row
constexpr int64_t kMostRows = int64_t{1} << 24;  // whose sums fit uint32

// Along dense elements.
uint32_t sum_of_row(const uint8_t* x, int64_t n) {
  uint32_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  return sum;
}

// Of `count` of x's inner elements, over n rows.
void add_up(const uint8_t* x, int64_t n, int64_t inner, int64_t count, int64_t* totals) {
  const auto sum_pixels = uint8_kernels().sum_pixels;
  uint32_t sums[kBlock];
  std::fill_n(totals, count, 0);
  for (int64_t begin = 0; begin < n; begin += kMostRows) {
    const int64_t rows = std::min(kMostRows, n - begin);
    const uint8_t* from = x + begin * inner;
    if (inner == 1)
      sums[0] = sum_of_row(from, rows);
    else
      sum_pixels({from, 1, rows, rows * inner, inner}, count, sums);
    for (int64_t i = 0; i < count; ++i) totals[i] += sums[i];
  }
}

void results(const int64_t* sums, int64_t count, int64_t n, const QuantizedMeanArgs& a, uint8_t* out) {
  const auto scale = static_cast<float>(double{a.scale} / (double{a.output_scale} * static_cast<double>(n)));
  const auto low = static_cast<float>(-a.zero_point), high = static_cast<float>(a.high - a.zero_point);
  for (int64_t i = 0; i < count; ++i) {
    const float v = static_cast<float>(sums[i] - n * a.x_zero_point) * scale;
    out[i] = to_integer<uint8_t>(clamped(v, low, high), a.zero_point);  // scales far apart may give NaN
  }
}

}  // namespace

void quantized_mean(const uint8_t* x, int64_t outer, int64_t n, int64_t inner, const QuantizedMeanArgs& args,
                    uint8_t* out) {
  const int64_t blocks = (inner + kBlock - 1) / kBlock, each = n * std::min(inner, kBlock);
  if (blocks == 0) return;
  parallel_for(outer * blocks, kGrain / each + 1, [&](int64_t begin, int64_t end) {
    int64_t totals[kBlock];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t o = i / blocks, first = i % blocks * kBlock, count = std::min(kBlock, inner - first);
      add_up(x + o * n * inner + first, n, inner, count, totals);
      results(totals, count, n, args, out + o * inner + first);
    }
  });
}

}  // namespace thimble::kernels
