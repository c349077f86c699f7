// What int8_gemm() hands to the code of one instruction set. Plain data only: these files are compiled with different
// instruction sets, so they must share no inline function (see cmake/ThimbleKernels.cmake).
#pragma once

#include <cstdint>

namespace thimble::kernels {

struct Int8GemmTask {
  const uint8_t* a;
  int64_t lda;
  const int64_t* rows;      // where each row starts, from a; null: lda apart
  const int64_t* segments;  // where the segments of a row lie, from its start
  int64_t segment_count;
  int64_t k;              // elements of a segment
  const int8_t* weights;  // packed, see PackedInt8Weights
  int64_t panel_stride;
  int64_t n;
  const int32_t* bias;
  const float* multiplier;
  // Of rows with parameters of their own, see Int8RowEpilogue; null: there are none. Then bias holds the sums of the
  // channels' weights, multiplier their steps, and the results are float.
  const int32_t* row_zero_points;
  const float* row_scales;
  const float* offset;      // float32 bias, or null
  const int32_t* row_sums;  // what is added to each sum of a row of uint8 results, or null: nothing
  float low, high;  // what uint8 results are clamped to before the zero point is added; for float results, the ReLU
  int32_t zero_point;
  void* out;  // uint8_t or float
  int64_t ldc;
  bool float_out;
};

/// Rows and panels (of 16 output channels) to compute.
struct Int8GemmRange {
  int64_t row_begin, row_end, panel_begin, panel_end;
};

/// With the best kernel that there is, on the calling thread.
void int8_gemm_serial(const Int8GemmTask& task, const Int8GemmRange& range);

void int8_gemm_scalar(const Int8GemmTask& task, const Int8GemmRange& range);
void int8_gemm_avx2(const Int8GemmTask& task, const Int8GemmRange& range);
void int8_gemm_avx_vnni(const Int8GemmTask& task, const Int8GemmRange& range);
void int8_gemm_avx512(const Int8GemmTask& task, const Int8GemmRange& range);
void int8_gemm_avx512_vnni(const Int8GemmTask& task, const Int8GemmRange& range);
void int8_gemm_amx(const Int8GemmTask& task, const Int8GemmRange& range);

}  // namespace thimble::kernels
