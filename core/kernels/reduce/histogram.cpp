#include <algorithm>

#include <thimble/core/kernels/reduce/histogram.h>
#include <thimble/core/kernels/reduce/partial_sums.h>
#include <thimble/core/kernels/scratch.h>

namespace thimble::kernels {

namespace {

// Elements that take a thread much longer than adding up the counts of two.
constexpr int64_t kGrain = 64 * 1024;

// index[i] = the bin of x[i].
void find_bins(const float* x, int count, const HistogramBins& b, int32_t* index) {
  const float reciprocal = 1 / b.width;
  for (int i = 0; i < count; ++i) {
    const auto truncated = static_cast<int32_t>(x[i] * reciprocal);
    // Compared with the value, not with the product, which may have become 0.
    const int32_t floor = truncated - (x[i] < static_cast<float>(truncated) * b.width ? 1 : 0);
    // A value in no bin comes about where threads differ in taking denormals as zeros.
    index[i] = std::clamp(floor - b.first, 0, b.bins - 1);
  }
}

void count_on_this_thread(const float* x, int64_t n, const HistogramBins& b, int64_t* counts) {
  constexpr int kBlock = 256;
  // Neighbours are often equal, zeros after ReLU, and a counter waits for its last increment. So they have counters of
  // their own.
  int64_t* others = thread_scratch_of<int64_t>(ScratchUse::numbers, b.bins);
  std::fill_n(others, b.bins, 0);
  int32_t index[kBlock];
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int count = static_cast<int>(std::min<int64_t>(kBlock, n - begin));
    find_bins(x + begin, count, b, index);
    for (int i = 0; i + 1 < count; i += 2) {
      ++counts[index[i]];
      ++others[index[i + 1]];
    }
    if (count % 2 != 0) ++counts[index[count - 1]];
  }
  for (int32_t i = 0; i < b.bins; ++i) counts[i] += others[i];
}

}  // namespace

void count_values(const float* x, int64_t n, const HistogramBins& b, int64_t* counts) {
  if (n < 2 * kGrain) return count_on_this_thread(x, n, b, counts);
  const std::shared_ptr<void> memory = allocate(static_cast<size_t>(b.bins) * sizeof(int64_t));
  auto* sums = static_cast<int64_t*>(memory.get());
  sum_in_shards<int64_t>(n, kGrain, b.bins, sums, [&](int64_t begin, int64_t end, int64_t* own) {
    std::fill_n(own, b.bins, 0);
    count_on_this_thread(x + begin, end - begin, b, own);
  });
  for (int32_t i = 0; i < b.bins; ++i) counts[i] += sums[i];
}

}  // namespace thimble::kernels
