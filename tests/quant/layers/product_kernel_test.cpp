#include <gtest/gtest.h>

#include <thimble/core/random.h>
#include <thimble/quant/layers/product_kernel.h>

namespace thimble::quant {
namespace {

IntegerWeights weights_of(const Shape& shape, int64_t group_size = 0) {
  IntegerWeights weights("test", shape, {.group_size = group_size});
  weights.values().set_data(NDArray::ones(shape, DType::int8));
  return weights;
}

// Packed weights have sums of their own, which tell whether they are the same ones.
const int32_t* packed(const ProductKernel& kernel) { return kernel.sums().data(); }

TEST(ProductKernel, SharesPackedWeightsWithThoseForOtherBatches) {
  for (const int64_t group_size : {0, 4}) {
    const IntegerWeights weights = weights_of({6, 8}, group_size);
    const auto one = linear_kernel(weights, {{1, 8}, DType::uint8}),
               many = linear_kernel(weights, {{9, 8}, DType::uint8});
    EXPECT_EQ(packed(*one), packed(*many));
    EXPECT_EQ(many->rows(), 9);
    weights.values().set_data(NDArray::full({6, 8}, 2, DType::int8));
    const auto changed = linear_kernel(weights, {{1, 8}, DType::uint8});
    EXPECT_EQ(changed->sums()[0], 2 * one->sums()[0]);
  }
}

TEST(ProductKernel, SharesAConvolutionsWeightsBetweenBatchesOfOneSize) {
  const IntegerWeights weights = weights_of({4, 2, 3, 3});
  const Conv2dOptions options{.padding = 1};
  const auto kernel = [&](const Shape& x) { return conv2d_kernel("test", weights, {x, DType::uint8}, options); };
  const auto one = kernel({1, 2, 5, 5}), many = kernel({9, 2, 5, 5}), row = kernel({1, 2, 1, 5});
  EXPECT_EQ(packed(*one), packed(*many));
  EXPECT_EQ(many->output_shape(), (Shape{9, 4, 5, 5}));
  EXPECT_NE(packed(*one), packed(*row)) << "a row sees fewer taps";
}

TEST(ProductKernel, TellsTheOrdersOfFlattenedImagesApart) {
  const IntegerWeights weights = weights_of({6, 8});
  const auto plain = linear_kernel(weights, {{1, 8}, DType::uint8}),
             image = linear_kernel(weights, {{1, 8}, DType::uint8, {2, 2, 2}});
  EXPECT_NE(packed(*plain), packed(*image));
}

}  // namespace
}  // namespace thimble::quant
