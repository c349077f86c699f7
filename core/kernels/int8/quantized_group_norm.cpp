#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <thimble/core/kernels/int8/quantized_group_norm.h>
#include <thimble/core/kernels/int8/quantized_group_norm_rows.h>
#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr KernelOf<const QuantizedGroupNormRows*> kGroupNormKernels[] = {
    THIMBLE_X86_KERNELS({Isa::avx512, &quantized_group_norm_avx512}, {Isa::avx2, &quantized_group_norm_avx2}){
        Isa::scalar, &quantized_group_norm_scalar}};

constexpr int64_t kGroupNormGrain = 16 * 1024;  // elements worth another thread
constexpr int64_t kBlockChannels = 64;          // that a thread sums up at once: a cache line of each pixel
constexpr int64_t kLeastPeriod = 256;           // of few channels, what fills vectors

int64_t period_of(int64_t channels) { return channels * std::max<int64_t>(1, kLeastPeriod / channels); }

// No infinity: times an integer of 0 it would be no number.
float as_float(double x) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  return static_cast<float>(std::clamp(x, -kLargest, kLargest));
}

// The channels' m, a and b, each repeated.
void make_affine(const uint64_t* sums, const uint64_t* squares, int64_t pixels, int64_t channels,
                 const QuantizedGroupNormArgs& args, float* numbers) {
  const int64_t period = period_of(channels);
  float *m = numbers, *a = m + period, *b = a + period;
  const int64_t size = channels / args.groups;
  const auto count = static_cast<double>(pixels) * static_cast<double>(size);
  const double scale = double{args.scale};
  for (int64_t first = 0; first < channels; first += size) {
    uint64_t sum = 0, of_squares = 0;
    for (int64_t c = first; c < first + size; ++c) {
      sum += sums[c];
      of_squares += squares[c];
    }
    const double mean = static_cast<double>(sum) / count, middle = std::nearbyint(mean);
    const double variance = std::max(0.0, static_cast<double>(of_squares) / count - mean * mean);
    const double factor = scale / std::sqrt(variance * scale * scale + args.eps);
    for (int64_t c = first; c < first + size; ++c) {
      m[c] = static_cast<float>(middle);
      a[c] = as_float(factor * args.weight[c]);
      b[c] = as_float(args.bias[c] - (mean - middle) * double{a[c]});
    }
  }
  for (int64_t i = channels; i < period; ++i) {
    m[i] = m[i - channels];
    a[i] = a[i - channels];
    b[i] = b[i - channels];
  }
}

}  // namespace

void quantized_group_norm(const uint8_t* x, int64_t n, int64_t pixels, int64_t channels,
                          const QuantizedGroupNormArgs& args, uint8_t* out) {
  const QuantizedGroupNormRows& kernel = *best_kernel<kGroupNormKernels>();
  const int64_t sample = pixels * channels, blocks = (channels + kBlockChannels - 1) / kBlockChannels;
  auto* sums = thread_scratch_of<uint64_t>(ScratchUse::sums, 2 * n * channels);
  uint64_t* squares = sums + n * channels;
  parallel_for(n * blocks, kGroupNormGrain / (pixels * std::min(channels, kBlockChannels)) + 1,
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   const int64_t at = i / blocks, first = i % blocks * kBlockChannels, to = at * channels + first;
                   kernel.sums(x + at * sample + first, pixels, channels, std::min(kBlockChannels, channels - first),
                               sums + to, squares + to);
                 }
               });
  const int64_t period = period_of(channels);
  auto* numbers = thread_scratch_of<float>(ScratchUse::numbers, 3 * n * period);
  for (int64_t i = 0; i < n; ++i)
    make_affine(sums + i * channels, squares + i * channels, pixels, channels, args, numbers + 3 * i * period);
  const int64_t pieces = (sample + period - 1) / period;
  parallel_for(n * pieces, kGroupNormGrain / period + 1, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t at = begin / pieces, piece = begin % pieces, last = std::min(pieces, piece + end - begin);
      const int64_t from = piece * period, to = std::min(sample, last * period);
      const float* own = numbers + 3 * at * period;
      const PeriodicAffine affine{.m = own,
                                  .a = own + period,
                                  .b = own + 2 * period,
                                  .period = period,
                                  .least = static_cast<float>(-args.zero_point),
                                  .most = static_cast<float>(args.high - args.zero_point),
                                  .zero_point = args.zero_point};
      kernel.results(x + at * sample + from, to - from, affine, out + at * sample + from);
      begin += last - piece;
    }
  });
}

}  // namespace thimble::kernels
