// What weight_only_gemm() hands to the code of one instruction set. Plain data only: these files are compiled with
// different instruction sets, so they must share no inline function (see cmake/ThimbleKernels.cmake).
#pragma once

#include <cstdint>

namespace thimble::kernels {

struct WeightOnlyTask {
  const float* x;
  int64_t lda;
  int64_t k, group_size, groups;
  int64_t block;  // the most features of a block

  // The rows of x in fixed point: for each block two planes of 4 bytes for each 4 features, in the form that the
  // instruction set wants them in.
  int64_t plane_multiple;  // bytes; planes are filled up with zeros
  uint8_t* rows;
  int64_t row_stride;  // bytes
  int64_t blocks;
  float* row_scales;  // [rows, blocks]
  int32_t* row_sums;  // [rows, blocks], of the block's fixed-point numbers

  // See WeightOnlyMatrix.
  const uint8_t* weights;
  int64_t panel_stride;
  int bits, lanes;
  const float* scales;
  const uint8_t* zero_points;
  int64_t n;

  const float* bias;  // or null
  bool relu;
  float* out;
  int64_t ldc;
};

/// Rows and byte panels to compute.
struct WeightOnlyRange {
  int64_t row_begin, row_end, panel_begin, panel_end;
};

// Makes rows [begin, end) fixed-point.
void weight_only_rows_scalar(const WeightOnlyTask& task, int64_t begin, int64_t end);
void weight_only_rows_avx2(const WeightOnlyTask& task, int64_t begin, int64_t end);
void weight_only_rows_avx_vnni(const WeightOnlyTask& task, int64_t begin, int64_t end);
void weight_only_rows_avx512(const WeightOnlyTask& task, int64_t begin, int64_t end);
void weight_only_rows_avx512_vnni(const WeightOnlyTask& task, int64_t begin, int64_t end);

// Multiplies rows that are fixed-point.
void weight_only_gemm_scalar(const WeightOnlyTask& task, const WeightOnlyRange& range);
void weight_only_gemm_avx2(const WeightOnlyTask& task, const WeightOnlyRange& range);
void weight_only_gemm_avx_vnni(const WeightOnlyTask& task, const WeightOnlyRange& range);
void weight_only_gemm_avx512(const WeightOnlyTask& task, const WeightOnlyRange& range);
void weight_only_gemm_avx512_vnni(const WeightOnlyTask& task, const WeightOnlyRange& range);
// Takes the rows of avx512_vnni, of planes of whole cache lines; 16 rows are readable wherever one is, and 1024 bytes
// behind the weights.
void weight_only_gemm_amx(const WeightOnlyTask& task, const WeightOnlyRange& range);

}  // namespace thimble::kernels
