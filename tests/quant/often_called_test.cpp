// Integer programs that are called so often that they run on all threads or on one, by what takes less time.
#include <gtest/gtest.h>

#include "tests/quant/conversion.h"
#include <thimble/core/parallel.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv_bn_relu.h>
#include <thimble/nn/layers/linear.h>

namespace thimble::quant {
namespace {

TEST_F(QuantizeTest, AGraphThatIsOftenCalledGivesTheSameBitsEachTime) {
  nn::Sequential model(nn::ConvBNReLU(3, 24, 3, nn::Conv2d::Options{.padding = 1}),
                       nn::ConvBNReLU(24, 24, 3, nn::Conv2d::Options{.padding = 1, .groups = 24}),
                       nn::ConvBNReLU(24, 32, 3, nn::Conv2d::Options{.stride = 2}), nn::Flatten(),
                       nn::Linear(32 * 13 * 13, 10));
  Converted result = quantized(traced(model, {1, 3, 28, 28}));
  EXPECT_EQ(result.count("QuantizedConv2d"), 3);
  const int before = num_threads();
  set_num_threads(3);
  const NoGrad guard;
  const auto bits = [&] { return result.graph(Tensor(data)).data().to_vector<float>(); };
  std::vector<float> expected;
  {
    const OnThisThread alone;
    expected = bits();
  }
  for (int i = 0; i < 150; ++i) ASSERT_EQ(bits(), expected) << i;
  set_num_threads(before);
}

}  // namespace
}  // namespace thimble::quant
