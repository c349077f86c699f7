// The definition itself, for processors without fused multiply-add.
#include <thimble/core/kernels/float_vectors.h>
#include <thimble/core/kernels/gemm/bf16_gemm_loops.h>
#include <thimble/core/kernels/gemm/bf16_order.h>

namespace thimble::kernels {

namespace {

struct Bf16Scalar : Scalar<float> {
  static constexpr int kRows = 1, kVectors = 4;

  static float even(const uint32_t* p) { return std::bit_cast<float>(*p << 16); }
  static float odd(const uint32_t* p) { return std::bit_cast<float>(*p & 0xffff0000u); }
  static float multiply_add(float a, float b, float c) { return bf16_multiply_add(a, b, c); }
  static float add(float a, float b) { return bf16_add(a, b); }
};

}  // namespace

constinit const Bf16GemmTable bf16_gemm_scalar = kBf16TableOf<Bf16Scalar, 16>;

}  // namespace thimble::kernels
