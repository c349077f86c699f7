// Linear: y = x W^T + b.
//
//   nn::Linear fc(784, 10);
//   Tensor logits = fc(images);     // [n, 784] -> [n, 10]
#pragma once

#include <thimble/nn/module.h>

namespace thimble::nn {

/// x [..., in_features] -> [..., out_features]. weight [out_features, in_features], bias [out_features], initialized as
/// in PyTorch.
class Linear : public Module {
 public:
  struct Options {
    bool bias = true;
  };

  /// Throws ValueError for sizes below 1.
  Linear(int64_t in_features, int64_t out_features, Options options);
  Linear(int64_t in_features, int64_t out_features) : Linear(in_features, out_features, Options()) {}
  /// With these tensors; bias may be undefined.
  Linear(Tensor weight, Tensor bias);

  Tensor forward(const Tensor& x) override;
  std::string type() const override { return "Linear"; }
  Attributes attributes() const override;

  int64_t in_features() const { return weight.shape(1); }
  int64_t out_features() const { return weight.shape(0); }

  Tensor weight, bias;
};

}  // namespace thimble::nn
