#include <gtest/gtest.h>

#include "tests/quant/reference.h"
#include <thimble/core/ops.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/quant/layers/quantized_mean.h>

namespace thimble::quant {
namespace {

TEST(QuantizedMean, IsTheRoundedMeanOnEveryMachine) {
  std::mt19937 rng(1);
  const TensorQParams from{0.04f, 50, 8}, to{0.004f, 100, 8};
  struct MeanCase {
    Shape x, axes;
  };
  const MeanCase cases[] = {{{3, 64, 20}, {1}},
                            {{3, 64, 20}, {-1}},
                            {{3, 5, 7}, {0}},
                            {{3, 5, 7}, {1, 2}},
                            {{3, 5, 7}, {}},
                            {{2, 3, 4, 5}, {2, 3}},
                            {{2, 3, 4, 5}, {3, 2}},
                            {{2, 3, 4, 5}, {1}},
                            {{2, 3, 4, 5}, {0, 2}},
                            {{2, 3, 4, 5, 2}, {1, 3}},
                            {{2, 3, 4, 5, 2}, {2}},
                            {{9}, {0}},
                            {{}, {}},
                            {{0, 3, 4}, {1}},
                            {{2, 3, 0}, {1}},
                            {{1, 300, 5000}, {1}}};
  for (const MeanCase& c : cases)
    for (const bool keepdim : {false, true}) {
      QuantizedMean layer(c.axes, keepdim, from, to);
      const NDArray x = random_bytes(c.x, rng);
      const Tensor sums = sum(Tensor(x.to(DType::int64)), c.axes, keepdim);
      const int64_t n = sums.numel() == 0 ? std::max<int64_t>(1, c.x[1]) : c.x.numel() / sums.numel();
      const auto scale = static_cast<float>(double{from.scale} / (double{to.scale} * static_cast<double>(n)));
      std::vector<int> expected;
      for (const int64_t total : sums.data().to_vector<int64_t>())
        expected.push_back(static_cast<int>(std::clamp(
            std::nearbyint(static_cast<float>(total - n * from.zero_point) * scale) + 100.0f, 0.0f, 255.0f)));
      on_every_machine([&] {
        const Tensor y = layer(Tensor(x));
        ASSERT_EQ(y.shape(), sums.shape());
        EXPECT_EQ(y.data().to_vector<int>(), expected) << c.x << " over " << c.axes;
      });
      EXPECT_EQ(nn::copy_layer(layer)->attributes(), layer.attributes());
    }
}

TEST(QuantizedMean, RefusesWhatItCannotTake) {
  const TensorQParams p{0.1f, 3, 8};
  EXPECT_THROW(QuantizedMean({0}, true, p, {0.0f, 3, 8}), ValueError);
  QuantizedMean layer({1}, false, p, p);
  EXPECT_THROW(layer(Tensor(NDArray::zeros({2}, DType::uint8))), ShapeError);
  EXPECT_THROW(layer(Tensor(NDArray::zeros({2, 0}, DType::uint8))), ShapeError);
  EXPECT_THROW(layer(Tensor(NDArray::zeros({2, 2}))), DTypeError);
  EXPECT_THROW(QuantizedMean({1, 1}, false, p, p)(Tensor(NDArray::zeros({2, 2}, DType::uint8))), ShapeError);
}

}  // namespace
}  // namespace thimble::quant
