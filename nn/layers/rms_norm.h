// RMSNorm (Zhang and Sennrich 2019): each sample brought to a mean square of 1 over its last dimensions. In a graph it
// is the ops that it is made of.
#pragma once

#include <thimble/core/api.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

/// x / sqrt(mean of x^2 + eps) * weight over the last dimensions, which must equal normalized_shape; see
/// thimble::rms_norm. weight is ones at first.
class THIMBLE_API RMSNorm : public Module {
 public:
  /// What may follow the shape.
  struct Options {
    double eps = 1.1920928955078125e-07;  ///< PyTorch's for float32
    bool elementwise_affine = true;
  };

  /// Throws ValueError for an empty shape and eps that is not above 0.
  explicit RMSNorm(const Shape& normalized_shape, Options options);
  explicit RMSNorm(const Shape& normalized_shape) : RMSNorm(normalized_shape, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  RMSNorm(const Shape& normalized_shape, ...) = delete;
  Tensor forward(const Tensor& x) override;

  const Tensor weight;

 private:
  Shape normalized_shape_;
  double eps_;
};

}  // namespace thimble::nn
