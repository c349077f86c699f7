#include <algorithm>

#include <thimble/core/kernels/histogram.h>
#include <thimble/core/kernels/partial_sums.h>

namespace thimble::kernels {

namespace {

// Elements that take a thread much longer than adding up the counts of two.
constexpr int64_t kGrain = 64 * 1024;

void count_on_this_thread(const float* x, int64_t n, const HistogramBins& b, int64_t* counts) {
  constexpr int kBlock = 256;
  const float reciprocal = 1 / b.width;
  int32_t index[kBlock];
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int count = static_cast<int>(std::min<int64_t>(kBlock, n - begin));
    for (int i = 0; i < count; ++i) {
      const float value = x[begin + i];
      const auto truncated = static_cast<int32_t>(value * reciprocal);
      // Compared with the value, not with the product, which may have become 0.
      const int32_t floor = truncated - (value < static_cast<float>(truncated) * b.width ? 1 : 0);
      // A value in no bin comes about where threads differ in taking denormals as zeros.
      index[i] = std::clamp(floor - b.first, 0, b.bins - 1);
    }
    for (int i = 0; i < count; ++i) ++counts[index[i]];
  }
}

}  // namespace

void count_values(const float* x, int64_t n, const HistogramBins& b, int64_t* counts) {
  if (n < 2 * kGrain) return count_on_this_thread(x, n, b, counts);
  const std::shared_ptr<void> memory = allocate(static_cast<size_t>(b.bins) * sizeof(int64_t));
  auto* sums = static_cast<int64_t*>(memory.get());
  sum_in_pieces<int64_t>(n, kGrain, b.bins, sums, [&](int64_t begin, int64_t end, int64_t* own) {
    count_on_this_thread(x + begin, end - begin, b, own);
  });
  for (int32_t i = 0; i < b.bins; ++i) counts[i] += sums[i];
}

}  // namespace thimble::kernels
