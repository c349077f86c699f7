// ConvBNReLU: the block that convolutional networks are made of.
//
//   nn::Submodule<nn::ConvBNReLU> block{this, "block", 16, 32, 3, {.padding = 1}};
#pragma once

#include <thimble/core/api.h>
#include <thimble/nn/layers/batch_norm.h>
#include <thimble/nn/layers/conv.h>

namespace thimble::nn {

/// relu(bn(conv(x))). A container: a trace in evaluation mode sees Conv2d, BatchNorm2d and relu. In training
/// normalization and relu are one pass over memory.
class THIMBLE_API ConvBNReLU : public Module {
 public:
  using Options = Conv2d::Options;

  /// The convolution's arguments; throws as Conv2d.
  ConvBNReLU(int64_t in_channels, int64_t out_channels, Pair kernel, Options options);
  ConvBNReLU(int64_t in_channels, int64_t out_channels, Pair kernel)
      : ConvBNReLU(in_channels, out_channels, kernel, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  ConvBNReLU(int64_t in_channels, int64_t out_channels, Pair kernel, ...) = delete;

  Tensor forward(const Tensor& x) override;

  Conv2d& conv() { return *conv_; }
  BatchNorm2d& bn() { return *bn_; }

 private:
  Submodule<Conv2d> conv_;
  Submodule<BatchNorm2d> bn_;
};

}  // namespace thimble::nn
