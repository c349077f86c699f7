// The reference, and what runs where there is no faster kernel.
#include <thimble/core/kernels/int8/int8_gemm_loops.h>

namespace thimble::kernels {
namespace {

struct Vector {
  static constexpr int kRows = 2, kPanels = 1, kFewRows = 1, kManyPanels = 1, kAtOnce = 1;
  struct Sums {
    int32_t of[kPanel];
  };
  using Weights = const int8_t*;
  using Activations = uint32_t;

  static Sums zero() { return {}; }
  static Weights weights(const int8_t* p) { return p; }
  static Activations activations(uint32_t four) { return four; }
  static Sums add_products(Sums sums, Activations four, Weights w) {
    uint8_t a[4];
    std::memcpy(a, &four, 4);
    for (int c = 0; c < kPanel; ++c) {
      for (int i = 0; i < 4; ++i) sums.of[c] += a[i] * w[4 * c + i];
    }
    return sums;
  }
  static void store(int32_t* out, const Sums& sums) { std::memcpy(out, sums.of, sizeof(sums)); }

  struct Scale {
    int32_t bias[kPanel];
    float multiplier[kPanel], offset[kPanel];
    int count;
    Scale() = default;
    Scale(const int32_t* b, const float* m, const float* o, int count_) : count(count_) {
      std::memcpy(bias, b, sizeof(bias));
      std::memcpy(multiplier, m, sizeof(multiplier));
      std::memcpy(offset, o, sizeof(offset));
    }
  };
  struct Limits {
    float low, high;
    int32_t zero_point;
    explicit Limits(const Int8GemmTask& t) : low(t.low), high(t.high), zero_point(t.zero_point) {}
  };
  // The sum wraps around like the vector instructions do.
  static float scaled(const int32_t* sums, const Scale& s, const Limits& l, int c) {
    const auto sum = static_cast<int32_t>(static_cast<uint32_t>(sums[c]) + static_cast<uint32_t>(s.bias[c]));
    const float v = static_cast<float>(sum) * s.multiplier[c];
    return v > l.low ? v : l.low;
  }
  static void finish(const int32_t* sums, const Scale& s, const Limits& l, float* out) {
    float results[kPanel];
    for (int c = 0; c < kPanel; ++c) results[c] = scaled(sums, s, l, c);
    store_first(s.count, results, out);
  }
  static void finish_row(const int32_t* sums, const Scale& s, const Limits& l, int32_t zero_point, float scale,
                         float* out) {
    float results[kPanel];
    for (int c = 0; c < kPanel; ++c) {
      const uint32_t correction = static_cast<uint32_t>(zero_point) * static_cast<uint32_t>(s.bias[c]);
      const auto sum = static_cast<int32_t>(static_cast<uint32_t>(sums[c]) - correction);
      const float v = static_cast<float>(sum) * (scale * s.multiplier[c]) + s.offset[c];
      results[c] = v > l.low ? v : l.low;
    }
    store_first(s.count, results, out);
  }
  static void finish(const int32_t* sums, const Scale& s, const Limits& l, uint8_t* out) {
    // Adding and subtracting 1.5 * 2^23 rounds half to even, as long as the magnitude is below 2^22: it is clamped.
    constexpr float kRound = 12582912.0f;
    uint8_t results[kPanel];
    for (int c = 0; c < kPanel; ++c) {
      const float v = scaled(sums, s, l, c), clamped = v < l.high ? v : l.high;
      results[c] = static_cast<uint8_t>(static_cast<int32_t>((clamped + kRound) - kRound) + l.zero_point);
    }
    store_first(s.count, results, out);
  }
};

}  // namespace

void int8_gemm_scalar(const Int8GemmTask& task, const Int8GemmRange& range) { run_task<Vector>(task, range); }

}  // namespace thimble::kernels
