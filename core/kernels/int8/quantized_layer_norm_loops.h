// The loops of quantized_layer_norm(), which the compiler vectorizes for the instruction set of each file that includes
// them. In an anonymous namespace, so that each has its own copy.
#pragma once

#include <thimble/core/kernels/int8/quantize_loops.h>
#include <thimble/core/kernels/int8/quantized_layer_norm_rows.h>

namespace thimble::kernels {
namespace {

SumsOfRow sums_of_row(const uint8_t* x, int64_t n) {
  constexpr int64_t kBlock = 32 * 1024;  // of which the sums fit 32 bits
  SumsOfRow sums{};
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = n - begin < kBlock ? n : begin + kBlock;
    int32_t values = 0, squares = 0;
    for (int64_t i = begin; i < end; ++i) {
      const int16_t v = x[i];
      values += v;
      squares += int32_t{v} * int32_t{v};
    }
    sums.values += static_cast<uint32_t>(values);
    sums.squares += static_cast<uint32_t>(squares);
  }
  return sums;
}

void affine_of_row(const uint8_t* __restrict x, int64_t n, const QuantizedAffine& affine, uint8_t* __restrict out) {
  const QuantizedAffine a = affine;
  const float* __restrict weight = a.weight, * __restrict bias = a.bias;
  for (int64_t i = 0; i < n; ++i) {
    const float normalized = static_cast<float>(x[i]) * a.factor + a.offset;
    out[i] = to_integer<uint8_t>(clamped(normalized * weight[i] + bias[i], a.least, a.most), a.zero_point);
  }
}

constexpr QuantizedLayerNormRows kQuantizedLayerNormRows{sums_of_row, affine_of_row};

}  // namespace
}  // namespace thimble::kernels
