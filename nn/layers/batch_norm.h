// Batch normalization as a layer (Ioffe and Szegedy 2015).
//
//   nn::Submodule<nn::BatchNorm2d> bn{this, "bn", 16};
//   Tensor h = relu(bn(conv(x)));
#pragma once

#include <optional>
#include <string>

#include <thimble/core/api.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

/// Base of BatchNorm1d, BatchNorm2d and BatchNorm3d, which differ in the inputs that they take: in training the batch's
/// statistics normalize and move the running ones, in evaluation the running ones normalize; see thimble::batch_norm.
/// weight and bias [num_features], ones and zeros at first; buffers running_mean, running_var [num_features] and
/// num_batches_tracked, an int64 scalar. Without running statistics the batch's normalize in evaluation, too; such a
/// module is no layer of a graph, which shows its op.
class THIMBLE_API BatchNorm : public Module {
 public:
  /// What may follow the number of features.
  struct Options {
    double eps = 1e-5;
    /// Share of the batch's statistics in the new running ones; std::nullopt for those that make them the mean over all
    /// batches.
    std::optional<double> momentum = 0.1;
    /// Whether there are weight and bias.
    bool affine = true;
    /// Whether there are running statistics.
    bool track_running_stats = true;
  };

  Tensor forward(const Tensor& x) override;
  std::string type() const override { return running_mean.defined() ? type_ : std::string(); }
  bool is_per_sample() const override { return running_mean.defined(); }  // else evaluation looks at the batch
  std::unique_ptr<InferenceStep> inference_step(std::span<const ValueInfo> inputs) const override;
  /// relu(forward(x)), in training in one pass over memory.
  Tensor forward_relu(const Tensor& x);
  Attributes attributes() const override;

  int64_t num_features() const { return num_features_; }
  double eps() const { return eps_; }
  std::optional<double> momentum() const { return momentum_; }

  const Tensor weight, bias, running_mean, running_var, num_batches_tracked;

 protected:
  BatchNorm(const char* type, int64_t num_features, Options options);
  /// `type` must live as long as this.
  BatchNorm(const char* type, Tensor weight, Tensor bias, Tensor running_mean, Tensor running_var, double eps,
            std::optional<double> momentum);

  /// Throws ValueError for a num_batches_tracked that nothing can have counted.
  void state_changed() override;

 private:
  virtual bool takes(const Shape& shape) const = 0;
  Tensor run(const Tensor& x, bool relu);

  const char* type_;
  int64_t num_features_;
  double eps_;
  std::optional<double> momentum_;
};

/// x [n, num_features, h, w]
class THIMBLE_API BatchNorm2d : public BatchNorm {
 public:
  /// Throws ValueError for num_features below 1, eps that is not above 0 and a momentum outside of [0, 1].
  BatchNorm2d(int64_t num_features, Options options) : BatchNorm("BatchNorm2d", num_features, options) {}
  explicit BatchNorm2d(int64_t num_features) : BatchNorm2d(num_features, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  BatchNorm2d(thimble::detail::Number num_features, ...) = delete;
  /// With these tensors; weight and bias may both be undefined. Throws ShapeError if they do not fit together.
  BatchNorm2d(Tensor w, Tensor b, Tensor mean, Tensor var, double eps, std::optional<double> momentum)
      : BatchNorm("BatchNorm2d", std::move(w), std::move(b), std::move(mean), std::move(var), eps, momentum) {}

 private:
  bool takes(const Shape& shape) const override { return shape.ndim() == 4; }
};

/// x [n, num_features, d, h, w]
class THIMBLE_API BatchNorm3d : public BatchNorm {
 public:
  /// Throws ValueError for num_features below 1, eps that is not above 0 and a momentum outside of [0, 1].
  BatchNorm3d(int64_t num_features, Options options) : BatchNorm("BatchNorm3d", num_features, options) {}
  explicit BatchNorm3d(int64_t num_features) : BatchNorm3d(num_features, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  BatchNorm3d(thimble::detail::Number num_features, ...) = delete;
  /// With these tensors; weight and bias may both be undefined. Throws ShapeError if they do not fit together.
  BatchNorm3d(Tensor w, Tensor b, Tensor mean, Tensor var, double eps, std::optional<double> momentum)
      : BatchNorm("BatchNorm3d", std::move(w), std::move(b), std::move(mean), std::move(var), eps, momentum) {}

 private:
  bool takes(const Shape& shape) const override { return shape.ndim() == 5; }
};

/// x [n, num_features] or [n, num_features, length]
class THIMBLE_API BatchNorm1d : public BatchNorm {
 public:
  /// Throws ValueError for num_features below 1, eps that is not above 0 and a momentum outside of [0, 1].
  BatchNorm1d(int64_t num_features, Options options) : BatchNorm("BatchNorm1d", num_features, options) {}
  explicit BatchNorm1d(int64_t num_features) : BatchNorm1d(num_features, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  BatchNorm1d(thimble::detail::Number num_features, ...) = delete;
  /// With these tensors; weight and bias may both be undefined. Throws ShapeError if they do not fit together.
  BatchNorm1d(Tensor w, Tensor b, Tensor mean, Tensor var, double eps, std::optional<double> momentum)
      : BatchNorm("BatchNorm1d", std::move(w), std::move(b), std::move(mean), std::move(var), eps, momentum) {}

 private:
  bool takes(const Shape& shape) const override { return shape.ndim() == 2 || shape.ndim() == 3; }
};

}  // namespace thimble::nn
