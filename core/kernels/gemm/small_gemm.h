// Float matrix products of operands that are in cache already: what all larger ones, and convolutions, are made of.
// Single-threaded; the callers divide their work.
#pragma once

#include <cstdint>

#include <thimble/core/kernels/gemm/epilogue.h>

namespace thimble::kernels {

/// Columns of a packed right operand that lie together. A multiple of every register tile's width.
inline constexpr int64_t kGemmPanel = 32;

/// Terms of a running sum. Those of many more lose digits, and at 2^24 equal terms float sums no longer grow.
inline constexpr int64_t kGemmChain = 4096;

inline constexpr int64_t kOneSegment[] = {0};

/// c [m, n] = a [m, k] b [k, n] (+ c). Element (i, p) of a lies at a[i * a_row + p * a_col]; rows of b and c are dense,
/// ldb and ldc elements apart. Where b is packed, in panels of kGemmPanel columns, b_panel is the distance of panels.
/// The epilogue's addend has c's distances.
///
/// The sum may run over several segments, each of k elements: they begin segments[0], segments[1], ... elements from a,
/// and b is [segment_count * k, n].
///
/// There may be several products with the same b: those of a, a + a_step, ... to c, c + c_step, ...
///
/// However long, sums stay accurate: at most kGemmChain terms are added up before they are added to c.
///
/// With `shard_terms` (float32, one segment, not to be added to c) the k terms are kBatchShards parts of so many, at
/// most kGemmChain, the last ones smaller or empty, whose sums are added as the tree of Shards.
template <typename T>
struct SmallGemm {
  int64_t m, n, k;
  const T* a;
  int64_t a_row, a_col;
  const T* b;
  int64_t ldb;
  T* c;
  int64_t ldc;
  int64_t b_panel = kGemmPanel;
  const int64_t* segments = kOneSegment;
  int64_t segment_count = 1;
  int64_t products = 1, a_step = 0, c_step = 0;
  bool accumulate = false;
  int64_t shard_terms = 0;
  Epilogue<T> epilogue = {};
};

void small_gemm(const SmallGemm<float>& task);
void small_gemm(const SmallGemm<double>& task);

/// The code of one instruction set.
struct SmallGemmTable {
  void (*float32)(const SmallGemm<float>&);
  void (*float64)(const SmallGemm<double>&);
};
extern const SmallGemmTable small_gemm_scalar, small_gemm_avx2, small_gemm_avx512;

}  // namespace thimble::kernels
