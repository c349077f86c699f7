// The loops of quantized_softmax() that the compiler vectorizes for the instruction set of each file that includes
// them. In an anonymous namespace, so that each has its own copy.
#pragma once

#include <thimble/core/kernels/int8/quantize_loops.h>
#include <thimble/core/kernels/int8/quantized_softmax_rows.h>

namespace thimble::kernels {
namespace {

uint8_t largest_of(const uint8_t* x, int64_t n) {
  uint8_t largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

// What fills no vector.
[[gnu::always_inline]] inline uint64_t look_terms_up(const uint8_t* x, int64_t n, uint8_t largest,
                                                     const QuantizedSoftmaxTable& table, int32_t* terms) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    terms[i] = table.term[largest - x[i]];
    sum += static_cast<uint32_t>(terms[i]);
  }
  return sum;
}

void results_of(const int32_t* __restrict terms, int64_t n, float multiplier, const QuantizedSoftmaxTable& table,
                uint8_t* __restrict out) {
  const float least = table.least, most = table.most;
  const int32_t zero_point = table.zero_point;
  for (int64_t i = 0; i < n; ++i)
    out[i] = to_integer<uint8_t>(clamped(static_cast<float>(terms[i]) * multiplier, least, most), zero_point);
}

}  // namespace
}  // namespace thimble::kernels
