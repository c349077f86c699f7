#include <functional>
#include <random>

#include <gtest/gtest.h>

#include <thimble/core/error.h>
#include <thimble/core/ops.h>
#include <thimble/quant/layers/quantized_values.h>

namespace thimble::quant {
namespace {

using TensorFunction = std::function<Tensor(const Tensor&)>;

// Whatever is cut off is the same integer as what is left at that end, and steps are no larger than they were.
TEST(NeededRange, CutsOffWhatChangesNoInteger) {
  const TensorFunction functions[] = {hardswish,
                                      hardsigmoid,
                                      silu,
                                      sigmoid,
                                      tanh,
                                      gelu,
                                      [](const Tensor& x) { return clamp(x, -0.3, 1.7); },
                                      [](const Tensor& x) { return clamp(0.5 - x, 0, 1); }};
  std::mt19937 rng(1);
  std::uniform_real_distribution<float> size(0.1f, 12.0f);
  for (size_t i = 0; i < std::size(functions); ++i) {
    const auto values = [&](const NDArray& x) { return functions[i](Tensor(x)).data(); };
    int cut = 0;
    for (int trial = 0; trial < 300; ++trial) {
      const float low = -size(rng), high = size(rng);
      const TensorQParams input = TensorQParams::from(choose_qparams(low, high));
      const Range range = min_max(values(floats_of(input)), {});
      const TensorQParams output =
          TensorQParams::from(choose_qparams(std::min(range.min[0], 0.0f), std::max(range.max[0], 0.0f)));
      const TensorQParams needed = needed_range(input, output, values);
      const NDArray x = floats_of(input), kept = floats_of(needed);
      const auto before = table_of(values(x), output), after = table_of(values(kept), output);
      const auto end = [](const NDArray& array, int64_t at) { return array.data<float>()[at]; };
      constexpr float kMuch = 0.2f;
      if (end(kept, 0) > end(x, 0) + kMuch) {
        EXPECT_EQ(after.front(), before.front()) << i << ", " << low << " to " << high;
      }
      if (end(kept, 255) < end(x, 255) - kMuch) {
        EXPECT_EQ(after.back(), before.back()) << i << ", " << low << " to " << high;
      }
      EXPECT_LE(needed.scale, input.scale) << i << ", " << low << " to " << high;
      cut += needed.scale < 0.9f * input.scale;
    }
    EXPECT_GE(cut, 20) << i;
  }
}

}  // namespace
}  // namespace thimble::quant
