// Linear: y = x W^T + b.
//
//   nn::Linear fc(784, 10);
//   Tensor logits = fc(images);     // [n, 784] -> [n, 10]
#pragma once

#include <thimble/core/api.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

/// x [..., in_features] -> [..., out_features]. weight [out_features, in_features], bias [out_features], initialized as
/// in PyTorch.
class THIMBLE_API Linear : public Module {
 public:
  /// What may follow the numbers of features.
  struct Options {
    bool bias = true;
  };

  /// Throws ValueError for sizes below 1.
  Linear(int64_t in_features, int64_t out_features, Options options);
  Linear(int64_t in_features, int64_t out_features) : Linear(in_features, out_features, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  Linear(int64_t in_features, int64_t out_features, ...) = delete;
  /// With these tensors; bias may be undefined. Throws ShapeError if they do not fit together.
  Linear(Tensor weight, Tensor bias);

  Tensor forward(const Tensor& x) override;
  bool is_per_sample() const override { return true; }
  std::unique_ptr<InferenceStep> inference_step(std::span<const ValueInfo> inputs) const override;
  std::string type() const override { return "Linear"; }
  Attributes attributes() const override;

  int64_t in_features() const { return weight.shape(1); }
  int64_t out_features() const { return weight.shape(0); }

  const Tensor weight, bias;
};

/// A Linear, or a layer derived from it, with the configuration of attributes() and tensors that are not set yet.
/// Throws FormatError.
template <typename T>
std::shared_ptr<T> make_linear(const Attributes& attributes) {
  const auto in = attributes.get<int64_t>("in_features"), out = attributes.get<int64_t>("out_features");
  check<FormatError>(in > 0 && out > 0, "Linear: in_features ", in, " and out_features ", out, " must be at least 1");
  return std::make_shared<T>(NDArray::placeholder({out, in}),
                             attributes.get<bool>("bias") ? Tensor(NDArray::placeholder({out})) : Tensor());
}

}  // namespace thimble::nn
