// GroupNorm (Wu and He 2018): each sample brought to mean 0 and variance 1 over groups of channels.
#pragma once

#include <thimble/core/api.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

/// x [n, num_channels] and up to two dimensions more; see thimble::group_norm. weight and bias [num_channels], ones and
/// zeros at first.
class THIMBLE_API GroupNorm : public Module {
 public:
  /// What may follow the numbers of groups and channels.
  struct Options {
    double eps = 1e-5;
    bool affine = true;
  };

  /// Throws ValueError for numbers below 1 and eps that is not above 0, ShapeError for groups that do not divide the
  /// channels.
  GroupNorm(int64_t num_groups, int64_t num_channels, Options options);
  GroupNorm(int64_t num_groups, int64_t num_channels) : GroupNorm(num_groups, num_channels, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  GroupNorm(int64_t num_groups, int64_t num_channels, ...) = delete;
  /// With these tensors; both undefined for no affine part.
  GroupNorm(int64_t num_groups, int64_t num_channels, double eps, Tensor weight, Tensor bias);

  Tensor forward(const Tensor& x) override;
  bool is_per_sample() const override { return true; }
  std::string type() const override { return "GroupNorm"; }
  Attributes attributes() const override;

  const Tensor weight, bias;

 private:
  int64_t num_groups_, num_channels_;
  double eps_;
};

}  // namespace thimble::nn
