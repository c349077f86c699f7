// InstanceNorm (Ulyanov et al. 2016): each channel of each sample brought to mean 0 and variance 1. In a graph it is
// the op group_norm and, if it has weight and bias, what they do.
#pragma once

#include <thimble/core/api.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

/// Base of InstanceNorm1d, InstanceNorm2d and InstanceNorm3d, which differ in the inputs that they take; see
/// thimble::instance_norm. weight and bias [num_features], ones and zeros at first, if it is affine.
class THIMBLE_API InstanceNorm : public Module {
 public:
  /// What may follow the number of features. Defaults are PyTorch's: no weight, no bias.
  struct Options {
    double eps = 1e-5;
    bool affine = false;
  };

  /// Throws ShapeError for inputs of other shapes, ValueError in training for one value per channel.
  Tensor forward(const Tensor& x) override;
  int64_t num_features() const { return num_features_; }

  const Tensor weight, bias;

 protected:
  InstanceNorm(const char* name, int dims, int64_t num_features, Options options);

 private:
  const char* name_;
  int dims_;  // of inputs
  int64_t num_features_;
  double eps_;
};

/// x [n, num_features, length]
class THIMBLE_API InstanceNorm1d : public InstanceNorm {
 public:
  /// Throws ValueError for num_features below 1 and eps that is not above 0.
  InstanceNorm1d(int64_t num_features, Options options) : InstanceNorm("InstanceNorm1d", 3, num_features, options) {}
  explicit InstanceNorm1d(int64_t num_features) : InstanceNorm1d(num_features, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  InstanceNorm1d(int64_t num_features, ...) = delete;
};

/// x [n, num_features, h, w]
class THIMBLE_API InstanceNorm2d : public InstanceNorm {
 public:
  /// Throws ValueError for num_features below 1 and eps that is not above 0.
  InstanceNorm2d(int64_t num_features, Options options) : InstanceNorm("InstanceNorm2d", 4, num_features, options) {}
  explicit InstanceNorm2d(int64_t num_features) : InstanceNorm2d(num_features, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  InstanceNorm2d(int64_t num_features, ...) = delete;
};

/// x [n, num_features, d, h, w]
class THIMBLE_API InstanceNorm3d : public InstanceNorm {
 public:
  /// Throws ValueError for num_features below 1 and eps that is not above 0.
  InstanceNorm3d(int64_t num_features, Options options) : InstanceNorm("InstanceNorm3d", 5, num_features, options) {}
  explicit InstanceNorm3d(int64_t num_features) : InstanceNorm3d(num_features, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  InstanceNorm3d(int64_t num_features, ...) = delete;
};

}  // namespace thimble::nn
