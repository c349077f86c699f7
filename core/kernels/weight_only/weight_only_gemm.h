// Matrix multiplication of float32 activations by weights of 2 to 8 bits: the kernel under weight-only Linear.
//
//   WeightOnlyMatrix w({.n = 1024, .k = 400, .bits = 4, .group_size = 400}, packed_rows, scales, nullptr);   // once
//   weight_only_gemm(x, lda, m, w, {.bias = bias, .relu = true}, out, ldc);
//
// The arithmetic, bit for bit the same on every instruction set, thread count and split of m:
//
// - The features of a group are taken in blocks of weight_only_block(bits), the last one shorter. Each block of each
//   row of x becomes 16-bit fixed point: s = max(max|x| / 32512, 2^-126), or 1 for zeros, x16 = round_half_even(x *
//   (1 / s)), which is off by at most 1/64000 of the block's largest magnitude, or 2^-127 if that is more. A block that
//   holds NaN or infinity has s = NaN.
// - sum = sum over the block of (u - zero_point) * x16, u being the weight's unsigned integer: exact in int32.
// - acc = acc + float(sum) * (s * scale), from 0, in the order of the blocks, each operation rounded to float32.
// - out = acc + bias, with relu max(out, 0), NaN staying NaN.
#pragma once

#include <cstdint>
#include <memory>

namespace thimble::kernels {

/// The most features of a block. Its sums stay below 2^31: |(u - zero_point) * x16| <= (2^bits - 1) * 32512, of which
/// 256 are added up for 8 bits and 1024 for 4.
constexpr int64_t weight_only_block(int bits) { return bits <= 4 ? 1024 : 256; }

/// Weights [n, k] (out_features x in_features) reordered for the dot product instructions, no larger than their bits
/// ask for: a byte holds 4 weights of 2 bits, 2 of 3 or 4 bits, 1 of 5 to 8 bits (fewer where n is small).
///
/// The weights that share a byte belong to channels 16 apart: byte panel p holds 16 * lanes() channels from
/// p * 16 * lanes() on, where a byte's lane l (its bits from l * 8 / lanes() on) is a weight of channel 16 * l + c of
/// them. Within a panel: blocks one after the other, each [ceil(features / 4)][16 channels c][4 features], zero padded.
class WeightOnlyMatrix {
 public:
  struct Layout {
    int64_t n = 0, k = 0;
    int bits = 4;
    int64_t group_size = 0;  ///< features that share a scale; the last group may have fewer
  };

  /// From unsigned integers, rows bit-packed one by one (see bit_packing.h), scales [n, groups] and zero points
  /// of the same shape, or null where they are all 2^(bits - 1). Throws ValueError for a layout that is out of range.
  WeightOnlyMatrix(const Layout& layout, const uint8_t* packed_rows, const float* scales, const uint8_t* zero_points);

  int64_t n() const { return layout_.n; }
  int64_t k() const { return layout_.k; }
  int bits() const { return layout_.bits; }
  int64_t group_size() const { return layout_.group_size; }
  int64_t groups() const { return (layout_.k - 1) / layout_.group_size + 1; }
  int lanes() const { return lanes_; }
  int64_t panels() const { return (n() + 16 * lanes_ - 1) / (16 * lanes_); }
  /// Bytes from one panel to the next.
  int64_t panel_stride() const { return 16 * padded_k_; }
  /// Features of a row when each block is padded to a multiple of `multiple`, which divides 256.
  int64_t padded_k(int64_t multiple) const;
  int64_t blocks() const { return blocks_; }
  /// 64-byte aligned; kSlack readable bytes follow the last panel.
  const uint8_t* data() const { return static_cast<const uint8_t*>(data_.get()); }
  /// [panels][groups][16 * lanes]; those of channels that do not exist are 0.
  const float* scales() const { return static_cast<const float*>(scales_.get()); }
  /// The same shape; null if all are 2^(bits - 1).
  const uint8_t* zero_points() const { return static_cast<const uint8_t*>(zero_points_.get()); }
  /// Of memory.
  int64_t nbytes() const;

 private:
  /// A tile load reads 16 groups of 4 features at a time, also at the end of the last panel.
  static constexpr int64_t kSlack = 1024;

  int64_t last_group_size() const { return k() - (groups() - 1) * group_size(); }
  void pack(const uint8_t* packed_rows);

  Layout layout_;
  int lanes_;
  int64_t padded_k_, blocks_;
  std::shared_ptr<void> data_, scales_, zero_points_;
};

struct WeightOnlyEpilogue {
  const float* bias = nullptr;  ///< [n], or null
  bool relu = false;
};

/// out[m, n] = epilogue(x[m, k] * w^T), rows of x and out lda and ldc elements apart. Arguments are not checked; m may
/// be 0. Divided among threads where it is worth it.
void weight_only_gemm(const float* x, int64_t lda, int64_t m, const WeightOnlyMatrix& w,
                      const WeightOnlyEpilogue& epilogue, float* out, int64_t ldc);

}  // namespace thimble::kernels
