// The loops of quantized_row_kernels.h, which the compiler vectorizes for the instruction set of each file that
// includes them. In an anonymous namespace, so that each has its own copy.
#pragma once

#include <thimble/core/kernels/weight_only/quantized_row_kernels.h>

namespace thimble::kernels {
namespace {

void unpack4_loop(const uint8_t* __restrict packed, int64_t n, uint8_t* __restrict q) {
  for (int64_t i = 0; i < (n + 1) / 2; ++i) {
    const auto both = static_cast<uint16_t>((packed[i] | packed[i] << 4) & 0x0f0f);
    __builtin_memcpy(q + 2 * i, &both, sizeof(both));
  }
}

[[gnu::always_inline]] inline float number_of(uint8_t q, const QuantizedRow& row) {
  return row.scale * static_cast<float>(static_cast<int32_t>(static_cast<uint8_t>(q ^ row.flip)) - row.zero_point);
}

void copy_row_loop(const QuantizedRow& which, int64_t n, float* __restrict out) {
  const QuantizedRow row = which;
  const uint8_t* __restrict q = row.q;
  for (int64_t i = 0; i < n; ++i) out[i] = number_of(q[i], row);
}

template <typename Sum>
void add_row_loop(const QuantizedRow& which, int64_t n, float factor, Sum* __restrict sums) {
  const QuantizedRow row = which;
  const uint8_t* __restrict q = row.q;
  const auto scale = static_cast<Sum>(factor);
  for (int64_t i = 0; i < n; ++i) sums[i] += scale * static_cast<Sum>(number_of(q[i], row));
}

void largest_row_loop(const QuantizedRow& which, int64_t n, float* __restrict out) {
  const QuantizedRow row = which;
  const uint8_t* __restrict q = row.q;
  for (int64_t i = 0; i < n; ++i) {
    const float v = number_of(q[i], row);
    out[i] = v > out[i] ? v : out[i];
  }
}

constexpr QuantizedRowKernels kQuantizedRowKernels{
    .unpack4 = unpack4_loop,
    .copy = copy_row_loop,
    .add = add_row_loop<float>,
    .add_wide = add_row_loop<double>,
    .largest = largest_row_loop,
};

}  // namespace
}  // namespace thimble::kernels
