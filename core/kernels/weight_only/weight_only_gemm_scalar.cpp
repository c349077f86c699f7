// The reference, and what runs where there is no faster kernel.
#include <thimble/core/kernels/weight_only/weight_only_gemm_pairs.h>

namespace thimble::kernels {
namespace {

struct Dot : PairPlanes {
  static constexpr int kWidth = 4, kFewSums = 1, kManySums = 2, kSums = 1;
  struct Bytes {
    uint8_t of[4 * kPanel];
  };
  using Weights = Bytes;
  struct Activations {
    int16_t of[4];  // features 0, 2, 1, 3
  };
  struct Sum {
    int32_t of[kPanel];
  };

  static Sum zero() { return {}; }
  static Sum sum(Sum a, const Sum& b) {
    for (int c = 0; c < kPanel; ++c) a.of[c] += b.of[c];
    return a;
  }
  static Bytes load(const uint8_t* p) {
    Bytes b;
    std::memcpy(b.of, p, sizeof(b.of));
    return b;
  }
  static Bytes masked(Bytes b, uint8_t mask) {
    for (uint8_t& byte : b.of) byte &= mask;
    return b;
  }
  static Bytes shifted(Bytes b, int n) {
    for (uint8_t& byte : b.of) byte = static_cast<uint8_t>(byte >> n);
    return b;
  }
  static Weights weights(const Bytes& b) { return b; }
  static Activations activations(const uint8_t* even, const uint8_t* odd) {
    Activations a;
    std::memcpy(a.of, even, 4);
    std::memcpy(a.of + 2, odd, 4);
    return a;
  }
  static Sum add_products(int, Sum sums, const Weights& w, const Activations& a) {
    for (int c = 0; c < kPanel; ++c) {
      const uint8_t* four = w.of + 4 * c;
      sums.of[c] += a.of[0] * four[0] + a.of[1] * four[2] + a.of[2] * four[1] + a.of[3] * four[3];
    }
    return sums;
  }
  static Ints<Dot> total(const Sum (&sums)[1]) { return Ints<Dot>::load(sums[0].of); }
};

}  // namespace

void weight_only_rows_scalar(const WeightOnlyTask& task, int64_t begin, int64_t end) {
  quantize_rows<Dot>(task, begin, end);
}

void weight_only_gemm_scalar(const WeightOnlyTask& task, const WeightOnlyRange& range) { run_task<Dot>(task, range); }

}  // namespace thimble::kernels
