// What quantized_softmax() calls for a row, for each instruction set. Plain data only, see int8_gemm_task.h.
#pragma once

#include <thimble/core/kernels/int8/quantized_softmax.h>

namespace thimble::kernels {

struct QuantizedSoftmaxRows {
  uint8_t (*largest)(const uint8_t* x, int64_t n);
  /// terms[i] = table.term[largest - x[i]]; returns their sum.
  uint64_t (*terms)(const uint8_t* x, int64_t n, uint8_t largest, const QuantizedSoftmaxTable& table, int32_t* terms);
  void (*results)(const int32_t* terms, int64_t n, float multiplier, const QuantizedSoftmaxTable& table, uint8_t* out);
};

extern const QuantizedSoftmaxRows quantized_softmax_scalar, quantized_softmax_avx2, quantized_softmax_avx512;

}  // namespace thimble::kernels
