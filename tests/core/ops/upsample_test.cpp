#include <gtest/gtest.h>

#include "tests/core/views.h"
#include <thimble/core/ops/upsample.h>

namespace thimble {
namespace {

TEST(UpsampleNearest2d, RepeatsPixels) {
  Generator rng(1);
  for (int i = 0; i < 30; ++i) {
    auto up_to = [&](int64_t n) { return static_cast<int64_t>(rng.below(static_cast<uint64_t>(n))) + 1; };
    const Pair scale(up_to(3), up_to(3));
    const NDArray x = randn_view({up_to(3), up_to(4), up_to(4), up_to(4)}, rng);
    const NDArray y = upsample_nearest2d(x, scale).data();
    ASSERT_EQ(y.shape(), (Shape{x.shape(0), x.shape(1), x.shape(2) * scale.height, x.shape(3) * scale.width}));
    for_each_index(y.shape(), [&](const Shape& o) {
      ASSERT_EQ(at(y, o), at(x, {o[0], o[1], o[2] / scale.height, o[3] / scale.width}));
    });
  }
}

TEST(UpsampleNearest2d, GradientsAreRight) {
  Generator rng(2);
  for (const Pair& scale : {Pair(1), Pair(2), Pair(3, 2)})
    check_gradients([&](const std::vector<Tensor>& in) { return upsample_nearest2d(in[0], scale); },
                    {randn_view({2, 3, 2, 3}, rng)});
}

TEST(UpsampleNearest2d, RefusesWhatDoesNotFit) {
  EXPECT_THROW(upsample_nearest2d(NDArray::ones({2, 3, 4}), 2), ShapeError);
  EXPECT_THROW(upsample_nearest2d(NDArray::ones({0, 3, 4, 4}), 2), ShapeError);
  EXPECT_THROW(upsample_nearest2d(NDArray::ones({2, 3, 4, 4}), {2, 0}), ValueError);
}

TEST(UpsampleNearest2d, BeyondAllMemoryIsAnError) {
  const NDArray wide = NDArray::ones({1, 1, 1, 1}).broadcast_to({1, 1, 1, int64_t{1} << 60});
  EXPECT_THROW(upsample_nearest2d(wide, 1 << 20), ShapeError);
}

}  // namespace
}  // namespace thimble
