#include <algorithm>
#include <atomic>
#include <limits>
#include <mutex>

#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/kernels/reduce/min_max.h>
#include <thimble/core/kernels/reduce/min_max_rows.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

// Elements that take a thread some microseconds.
constexpr int64_t kGrain = 64 * 1024;
// Columns that a thread takes at least, so that it reads whole cache lines.
constexpr int64_t kColumns = 64;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

constexpr KernelOf<const MinMaxRows*> kKernels[] = {
    THIMBLE_X86_KERNELS({Isa::avx512, &min_max_avx512}, {Isa::avx2, &min_max_avx2}){Isa::scalar, &min_max_scalar}};

const MinMaxRows& loops() { return *best_kernel<kKernels>(); }

bool of_all(const float* x, int64_t n, float* min, float* max) {
  const MinMaxRows& kernel = loops();
  std::mutex mutex;
  bool numbers = true;
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    float low = kInfinity, high = -kInfinity;
    const bool good = kernel.row(x + begin, end - begin, &low, &high);
    const std::lock_guard lock(mutex);
    *min = std::min(*min, low);
    *max = std::max(*max, high);
    numbers = numbers && good;
  });
  return numbers;
}

bool of_columns(const float* x, const MinMaxShape& s, float* min, float* max) {
  const MinMaxRows& kernel = loops();
  std::atomic<bool> numbers = true;
  parallel_for(s.channels, std::max(kColumns, kGrain / s.outer), [&](int64_t begin, int64_t end) {
    if (!kernel.columns(x + begin, s.outer, s.channels, end - begin, min + begin, max + begin)) numbers = false;
  });
  return numbers;
}

bool of_runs(const float* x, const MinMaxShape& s, float* min, float* max) {
  const MinMaxRows& kernel = loops();
  std::atomic<bool> numbers = true;
  parallel_for(s.channels, std::max<int64_t>(1, kGrain / (s.outer * s.inner)), [&](int64_t begin, int64_t end) {
    bool good = true;
    for (int64_t o = 0; o < s.outer; ++o)
      for (int64_t c = begin; c < end; ++c)
        good &= kernel.row(x + (o * s.channels + c) * s.inner, s.inner, min + c, max + c);
    if (!good) numbers = false;
  });
  return numbers;
}

}  // namespace

bool min_max(const float* x, const MinMaxShape& s, float* min, float* max) {
  std::fill_n(min, s.channels, kInfinity);
  std::fill_n(max, s.channels, -kInfinity);
  bool finite = s.channels == 1 ? of_all(x, s.outer * s.inner, min, max)
                : s.inner == 1  ? of_columns(x, s, min, max)
                                : of_runs(x, s, min, max);
  for (int64_t c = 0; c < s.channels; ++c) {
    finite = finite && min[c] > -kInfinity && max[c] < kInfinity;
    // Which of the zeros is met first depends on how the work is divided.
    min[c] += 0.0f;
    max[c] += 0.0f;
  }
  return finite;
}

}  // namespace thimble::kernels
