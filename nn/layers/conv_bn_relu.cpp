#include <thimble/core/ops/elementwise.h>
#include <thimble/nn/layers/conv_bn_relu.h>

namespace thimble::nn {

ConvBNReLU::ConvBNReLU(int64_t in_channels, int64_t out_channels, Pair kernel, Options options)
    : conv_(this, "conv", in_channels, out_channels, kernel, options), bn_(this, "bn", out_channels) {}

Tensor ConvBNReLU::forward(const Tensor& x) {
  const Tensor h = conv_(x);
  return bn_->training() ? bn_->forward_relu(h) : relu(bn_(h));
}

}  // namespace thimble::nn
