#include <thimble/core/kernels/int8/int8_depthwise_loops.h>

namespace thimble::kernels {
namespace {

struct DepthwiseScalarVector {
  static constexpr int kChannels = 16, kTaps = 1;
  using Weight = int8_t;
  struct Sums {
    int32_t of[kChannels];
  };
  using Taps = const uint8_t*;

  static constexpr int64_t channel_of(int i) { return i; }
  static Sums begin(const int32_t* start) {
    Sums sums;
    std::memcpy(sums.of, start, sizeof sums.of);
    return sums;
  }
  template <typename At>
  static Taps taps(At&& at, int64_t) {
    return at(0);
  }
  static Sums add_products(Sums sums, Taps x, const Weight* weights) {
    for (int c = 0; c < kChannels; ++c) sums.of[c] += int32_t{x[c]} * int32_t{weights[c]};
    return sums;
  }
  static void store(int32_t* out, const Sums& sums) { std::memcpy(out, sums.of, sizeof sums.of); }
  static void finish(const Sums& sums, const DepthwiseConstants<kChannels>& k, uint8_t* out, int64_t count) {
    for (int64_t c = 0; c < count; ++c) {
      const float scaled = static_cast<float>(sums.of[c]) * k.multiplier[c];
      const float low = scaled > k.limits.low ? scaled : k.limits.low,
                  clamped = low < k.limits.high ? low : k.limits.high;
      // Adding and subtracting 1.5 * 2^23 rounds half to even, as long as the magnitude is below 2^22: it is clamped.
      constexpr float kRound = 12582912.0f;
      out[c] = static_cast<uint8_t>(static_cast<int32_t>((clamped + kRound) - kRound) + k.limits.zero_point);
    }
  }
};

}  // namespace

const Int8DepthwiseTable int8_depthwise_scalar = DepthwiseLoops<Panels<DepthwiseScalarVector>>::kTable;

}  // namespace thimble::kernels
