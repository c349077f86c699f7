// ResNet-18 for images of 32x32 (He et al. 2015, with the stem that is usual for CIFAR-10: one 3x3 convolution).
#pragma once

#include <memory>

#include <thimble/thimble.h>

namespace thimble::bench {

/// Two 3x3 convolutions, and what goes around them: the input, through a 1x1 convolution where sizes change.
class BasicBlock : public nn::Module {
 public:
  BasicBlock(int64_t in, int64_t out, int64_t stride)
      : first_(this, "first", in, out, 3, nn::ConvBNReLU::Options{.stride = stride, .padding = 1, .bias = false}),
        conv_(this, "conv", out, out, 3, nn::Conv2d::Options{.padding = 1, .bias = false}),
        bn_(this, "bn", out) {
    if (in == out && stride == 1) return;
    shortcut_ = std::make_shared<nn::Sequential>();
    shortcut_->emplace<nn::Conv2d>(in, out, 1, nn::Conv2d::Options{.stride = stride, .bias = false});
    shortcut_->emplace<nn::BatchNorm2d>(out);
    register_module("shortcut", shortcut_);
  }

  Tensor forward(const Tensor& x) override {
    return add_relu((*bn_)((*conv_)((*first_)(x))), shortcut_ ? (*shortcut_)(x) : x);
  }

 private:
  nn::Submodule<nn::ConvBNReLU> first_;
  nn::Submodule<nn::Conv2d> conv_;
  nn::Submodule<nn::BatchNorm2d> bn_;
  std::shared_ptr<nn::Sequential> shortcut_;
};

inline std::unique_ptr<nn::Module> resnet18() {
  auto model = std::make_unique<nn::Sequential>();
  model->emplace<nn::ConvBNReLU>(3, 64, 3, nn::ConvBNReLU::Options{.padding = 1, .bias = false});
  int64_t in = 64;
  for (const int64_t out : {64, 128, 256, 512}) {
    model->emplace<BasicBlock>(in, out, out == in ? 1 : 2).emplace<BasicBlock>(out, out, 1);
    in = out;
  }
  model->emplace<nn::AdaptiveAvgPool2d>(1).emplace<nn::Flatten>().emplace<nn::Linear>(in, 10);
  return model;
}

}  // namespace thimble::bench
