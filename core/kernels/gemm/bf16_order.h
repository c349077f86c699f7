// The order in which products of bfloat16 are added up, in plain code: what every kernel computes, bit for bit. It is
// that of AMX's TDPBF16PS, since nothing else about that instruction can be chosen.
//
// Of every kBf16Block terms, those of even number are added up in one chain and those of odd number in another, both
// from 0; the sum of the two chains is added to what the blocks before gave. Each step is one operation of float32,
// rounded to nearest even, that takes denormal operands as 0 and gives 0 for denormal results. A last block with fewer
// terms is filled up with products of zeros.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace thimble::kernels {
namespace {

constexpr int64_t kBf16Block = 32;

constexpr float kSmallestNormal = 0x1p-126f;

inline float without_denormal(float x) { return std::fabs(x) < kSmallestNormal ? std::copysign(0.0f, x) : x; }

/// x as a float. What would be denormal is 0, and so is what would be if it had all 24 bits.
inline float rounded_to_normal(double x) {
  constexpr double kLimit = 0x1p-126 - 0x1p-151;  // halfway to the next number below, were there one; ties go up
  return std::fabs(x) < kLimit ? static_cast<float>(std::copysign(0.0, x)) : static_cast<float>(x);
}

inline float bf16_add(float a, float b) {
  return rounded_to_normal(static_cast<double>(without_denormal(a)) + static_cast<double>(without_denormal(b)));
}

/// a and b are bfloat16 widened. Their product has 16 digits, so it is exact in float64, and the sum's 53 digits are
/// enough for a second rounding to change nothing.
inline float bf16_multiply_add(float a, float b, float c) {
  const double product = static_cast<double>(without_denormal(a)) * static_cast<double>(without_denormal(b));
  return rounded_to_normal(product + static_cast<double>(without_denormal(c)));
}

/// The sum of a(i) * b(i) for i < k.
template <typename A, typename B>
float bf16_sum_of_products(int64_t k, A&& a, B&& b) {
  float sum = 0;
  for (int64_t block = 0; block < k; block += kBf16Block) {
    float chains[2] = {0, 0};
    for (int64_t i = 0; i < kBf16Block; ++i) {
      const bool exists = block + i < k;
      chains[i % 2] = bf16_multiply_add(exists ? a(block + i) : 0, exists ? b(block + i) : 0, chains[i % 2]);
    }
    sum = bf16_add(sum, bf16_add(chains[0], chains[1]));
  }
  return sum;
}

}  // namespace
}  // namespace thimble::kernels
