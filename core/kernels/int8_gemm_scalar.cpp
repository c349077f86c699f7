// The reference, and what runs where there is no faster kernel.
#include <thimble/core/kernels/int8_gemm_loops.h>

namespace thimble::kernels {
namespace {

struct Vector {
  static constexpr int kRows = 2, kPanels = 1, kPanelsOfOneRow = 1;
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

  // The sum wraps around like the vector instructions do.
  static float scaled(int32_t sum, int32_t bias, float multiplier) {
    return static_cast<float>(static_cast<int32_t>(static_cast<uint32_t>(sum) + static_cast<uint32_t>(bias))) *
           multiplier;
  }
  static void finish(const int32_t* sums, const int32_t* bias, const float* multiplier, const Int8GemmTask& t,
                     float* out) {
    for (int c = 0; c < kPanel; ++c) {
      const float v = scaled(sums[c], bias[c], multiplier[c]);
      out[c] = v > t.low ? v : t.low;
    }
  }
  static void finish(const int32_t* sums, const int32_t* bias, const float* multiplier, const Int8GemmTask& t,
                     uint8_t* out) {
    // Adding and subtracting 1.5 * 2^23 rounds half to even, as long as the magnitude is below 2^22: it is clamped.
    constexpr float kRound = 12582912.0f;
    for (int c = 0; c < kPanel; ++c) {
      float v = scaled(sums[c], bias[c], multiplier[c]);
      v = v > t.low ? v : t.low;
      v = v < t.high ? v : t.high;
      out[c] = static_cast<uint8_t>(static_cast<int32_t>((v + kRound) - kRound) + t.zero_point);
    }
  }
};

}  // namespace

void int8_gemm_scalar(const Int8GemmTask& task, const Int8GemmRange& range) { run_task<Vector>(task, range); }

}  // namespace thimble::kernels
