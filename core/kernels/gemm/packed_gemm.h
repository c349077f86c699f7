// Products with a right operand that stays the same from call to call, as a layer's weights do in inference.
#pragma once

#include <cstdint>
#include <memory>

#include <thimble/core/kernels/gemm/epilogue.h>

namespace thimble::kernels {

/// b [k, n] in panels of kGemmPanel columns, the last filled up with zeros; one narrower panel if n is small.
class PackedMatrix {
 public:
  /// Element (p, j) of the matrix lies at b[p * row_stride + j * col_stride], and is multiplied with scale[j] unless
  /// that is null. Threaded.
  PackedMatrix(const float* b, int64_t k, int64_t n, int64_t row_stride, int64_t col_stride,
               const double* scale = nullptr);

  int64_t k() const { return k_; }
  int64_t n() const { return n_; }
  int64_t panel_width() const { return panel_width_; }
  int64_t panels() const { return (n_ + panel_width_ - 1) / panel_width_; }
  int64_t nbytes() const { return panels() * k_ * panel_width_ * static_cast<int64_t>(sizeof(float)); }
  /// 64-byte aligned.
  const float* data() const { return static_cast<const float*>(data_.get()); }

 private:
  int64_t k_, n_, panel_width_;
  std::shared_ptr<void> data_;
};

/// c [m, n] = a [m, k] b, and then the epilogue; rows of a and c are lda and ldc elements apart.
/// Divided among threads where it is worth it.
void packed_gemm(const float* a, int64_t lda, int64_t m, const PackedMatrix& b, float* c, int64_t ldc,
                 const Epilogue<float>& epilogue = {});

}  // namespace thimble::kernels
