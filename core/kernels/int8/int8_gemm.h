// Integer matrix multiplication with a fused epilogue: the kernel under every int8 Linear (and convolution).
//
//   PackedInt8Weights w(weight, out_features, in_features);            // once
//   auto bias = fold_zero_point(w.channel_sums(), int32_bias, input_zero_point);      // once
//   int8_gemm(x, lda, m, w, {.bias = bias.data(), .multiplier = scales, .zero_point = 3, .low = 3}, out, ldc);
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <vector>

namespace thimble::kernels {

/// Weights [n, k] (out_features x in_features) reordered for the dot product instructions. One layout serves every
/// instruction set: panels of 16 output channels, each [ceil(k / 4)][16][4], zero padded. Channel p * 16 + c, element
/// 4 * g + i lies at data()[p * panel_stride() + (g * 16 + c) * 4 + i]. A sum may run over several segments of the
/// input (the rows of a convolution's kernel): weights [n, segments, k], each segment padded on its own.
class PackedInt8Weights {
 public:
  static constexpr int kPanel = 16;
  /// The longest sum that cannot leave int32: 65536 * 255 * 128 < 2^31.
  static constexpr int64_t kMaxK = 65536;
  /// A tile load reads 16 groups at a time, also at the end of the last panel.
  static constexpr int64_t kSlack = 1024;

  /// Packs row-major weights. Throws ValueError for negative sizes or segments * k > kMaxK.
  PackedInt8Weights(const int8_t* weights, int64_t n, int64_t k, int64_t segments = 1);
  PackedInt8Weights(PackedInt8Weights&&) noexcept = default;
  PackedInt8Weights& operator=(PackedInt8Weights&&) noexcept = default;

  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  int64_t segments() const { return segments_; }
  int64_t panels() const { return (n_ + kPanel - 1) / kPanel; }
  /// Bytes from one panel to the next, a multiple of 64.
  int64_t panel_stride() const { return segments_ * ((k_ + 3) / 4) * 64; }
  /// 64-byte aligned; kSlack readable bytes follow the last panel.
  const int8_t* data() const { return data_.get(); }
  /// Sum of each output channel's weights, [n].
  std::span<const int32_t> channel_sums() const { return sums_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(int8_t* p) const { ::operator delete[](p, kAlignment); }
  };

  int64_t n_, k_, segments_;
  std::unique_ptr<int8_t[], Free> data_;
  std::vector<int32_t> sums_;
};

/// What happens to each int32 sum on its way out, with v = float(sum + bias[n]) * multiplier[n]:
/// - to uint8: round_half_even(clamp(v, low - zero_point, high - zero_point)) + zero_point;
/// - to float: relu ? max(v, 0) : v.
/// bias and multiplier are [n]; bias holds the zero point correction of the inputs already (fold_zero_point).
/// A ReLU before quantization is low = zero_point. sum + bias must fit int32, multipliers must be finite: what NaN
/// becomes depends on the instruction set.
struct Int8Epilogue {
  const int32_t* bias = nullptr;
  const float* multiplier = nullptr;
  int32_t zero_point = 0;
  int32_t low = 0;
  int32_t high = 255;
  bool relu = false;
};

/// The same for rows that have parameters of their own, as activations that are quantized at each call have: with s =
/// sum - zero_point[row] * sums[n], to float v = float(s) * (scale[row] * step[n]) + bias[n], relu ? max(v, 0) : v,
/// each operation rounded to float32. Steps, scales and biases are finite.
struct Int8RowEpilogue {
  const int32_t* sums = nullptr;  ///< of each channel's weights, [n]
  const float* step = nullptr;    ///< [n]
  const float* bias = nullptr;    ///< [n]; null: 0
  const int32_t* zero_point = nullptr;
  const float* scale = nullptr;
  bool relu = false;
};

/// bias[n] - zero_point * sums[n], sums being those of each channel's weights: makes sums over raw uint8 inputs into
/// sums over (input - zero_point). An empty bias counts as zeros. Throws ShapeError unless bias is empty or [n],
/// ValueError if a result leaves int32.
std::vector<int32_t> fold_zero_point(std::span<const int32_t> sums, std::span<const int32_t> bias, int32_t zero_point);

/// out[m, n] = epilogue(a[m, k] * w^T), rows of a and out lda and ldc elements apart. Sums are exact, and every
/// instruction set, thread count and split of m gives the same bits. Arguments are not checked; m may be 0.
void int8_gemm(const uint8_t* a, int64_t lda, int64_t m, const PackedInt8Weights& w, const Int8Epilogue& epilogue,
               uint8_t* out, int64_t ldc);
void int8_gemm(const uint8_t* a, int64_t lda, int64_t m, const PackedInt8Weights& w, const Int8Epilogue& epilogue,
               float* out, int64_t ldc);
void int8_gemm(const uint8_t* a, int64_t lda, int64_t m, const PackedInt8Weights& w, const Int8RowEpilogue& epilogue,
               float* out, int64_t ldc);

/// Weights in groups along k, each with scales of its own: out = epilogue of the sum over groups g of float(sum_g +
/// bias[g][n]) * multiplier[g][n], added up in float32 in this order; sum_g is that of group g's products. The
/// epilogue's bias and multiplier are [groups][n], and so are sums and step of rows with parameters of their own, whose
/// bias, [n], belongs to the first group. All groups have the same k, but the last may have less. Rows of a and out are
/// lda and ldc elements apart.
/// Every instruction set, thread count and split of m gives the same bits. Arguments are not checked.
void int8_group_gemm(const uint8_t* a, int64_t lda, int64_t m, std::span<const PackedInt8Weights> groups,
                     const Int8Epilogue& epilogue, uint8_t* out, int64_t ldc);
void int8_group_gemm(const uint8_t* a, int64_t lda, int64_t m, std::span<const PackedInt8Weights> groups,
                     const Int8Epilogue& epilogue, float* out, int64_t ldc);
void int8_group_gemm(const uint8_t* a, int64_t lda, int64_t m, std::span<const PackedInt8Weights> groups,
                     const Int8RowEpilogue& epilogue, float* out, int64_t ldc);

/// The rows of a product that lie anywhere in memory: row i starts at data + rows[i], and its segments, as many as the
/// weights have, at segments[s] from there.
struct GatheredRows {
  const uint8_t* data;
  std::span<const int64_t> rows, segments;
};

/// int8_gemm() on the calling thread.
void int8_gemm_serial(const uint8_t* a, int64_t lda, int64_t m, const PackedInt8Weights& w,
                      const Int8Epilogue& epilogue, uint8_t* out, int64_t ldc);
void int8_gemm_serial(const uint8_t* a, int64_t lda, int64_t m, const PackedInt8Weights& w,
                      const Int8Epilogue& epilogue, float* out, int64_t ldc);
void int8_gemm_serial(const uint8_t* a, int64_t lda, int64_t m, const PackedInt8Weights& w,
                      const Int8RowEpilogue& epilogue, float* out, int64_t ldc);

/// The same of gathered rows.
void int8_gemm_serial(const GatheredRows& a, const PackedInt8Weights& w, const Int8Epilogue& epilogue, uint8_t* out,
                      int64_t ldc);
void int8_gemm_serial(const GatheredRows& a, const PackedInt8Weights& w, const Int8Epilogue& epilogue, float* out,
                      int64_t ldc);
void int8_gemm_serial(const GatheredRows& a, const PackedInt8Weights& w, const Int8RowEpilogue& epilogue, float* out,
                      int64_t ldc);

}  // namespace thimble::kernels
