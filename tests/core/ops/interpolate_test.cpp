#include <limits>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/views.h"
#include <thimble/core/ops/grid_sample.h>
#include <thimble/core/ops/interpolate.h>
#include <thimble/core/ops/upsample.h>

namespace thimble {
namespace {

using ::testing::ElementsAre;

NDArray counted_array(const Shape& shape) {
  std::vector<double> values(static_cast<size_t>(shape.numel()));
  std::iota(values.begin(), values.end(), 1.0);
  return NDArray::from_vector(values, shape);
}

// The values are those of the ONNX standard's Resize.
TEST(Interpolate, AgreesWithTheStandard) {
  const NDArray small = counted_array({2, 2}), large = counted_array({4, 4});
  const std::vector<double> twice{2, 2}, less{0.8, 0.8}, least{static_cast<double>(0.6f), static_cast<double>(0.6f)};
  const auto expect = [](const NDArray& x, const InterpolateOptions& o, const Shape& shape,
                         const std::vector<double>& values) {
    const NDArray y = interpolate(x, o).data();
    ASSERT_EQ(y.shape(), shape) << o.mode << ' ' << o.coordinates;
    const auto got = y.to_vector<double>();
    for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(got[i], values[i], 1e-6) << o.mode << ' ' << o.coordinates;
  };
  expect(small, {.mode = "linear", .scales = twice}, {4, 4},
         {1, 1.25, 1.75, 2, 1.5, 1.75, 2.25, 2.5, 2.5, 2.75, 3.25, 3.5, 3, 3.25, 3.75, 4});
  expect(
      small, {.mode = "linear", .scales = twice, .coordinates = "align_corners"}, {4, 4},
      {1, 4.0 / 3, 5.0 / 3, 2, 5.0 / 3, 2, 7.0 / 3, 8.0 / 3, 7.0 / 3, 8.0 / 3, 3, 10.0 / 3, 3, 10.0 / 3, 11.0 / 3, 4});
  expect(large, {.mode = "cubic", .scales = twice}, {8, 8},
         {0.47265625, 0.76953125, 1.24609375, 1.875, 2.28125, 2.91015625, 3.38671875, 3.68359375});
  expect(large, {.mode = "cubic", .scales = twice, .cubic_a = -0.5, .exclude_outside = true}, {8, 8},
         {0.55882353, 0.81494204, 1.35698249, 1.89705882, 2.39705882, 2.93713516, 3.47917561, 3.73529412});
  expect(large, {.mode = "cubic", .scales = less}, {3, 3},
         {1.47119141, 2.78125, 4.08251953, 6.71142578, 8.02148438, 9.32275391, 11.91650391, 13.2265625, 14.52783203});
  expect(large, {.mode = "linear", .scales = least, .antialias = true}, {2, 2}, {2.875, 4.5, 9.375, 11});
  expect(large, {.mode = "cubic", .scales = least, .antialias = true}, {2, 2},
         {2.5180721, 4.2858863, 9.589329, 11.357142});
  expect(large, {.mode = "linear", .sizes = {3, 3}, .coordinates = "tf_crop_and_resize", .roi = {0.4, 0.6, 0.6, 0.8}},
         {3, 3}, {7.6, 7.9, 8.2, 8.8, 9.1, 9.4, 10, 10.3, 10.6});
  expect(large,
         {.mode = "linear",
          .sizes = {3, 3},
          .coordinates = "tf_crop_and_resize",
          .roi = {0.4, 0.6, 1.2, 1.7},
          .extrapolation_value = 10},
         {3, 3}, {7.6, 10, 10, 12.4, 10, 10, 10, 10, 10});
}

TEST(Interpolate, NearestTakesTheElementThatItsRoundingNames) {
  const NDArray x = counted_array({4});
  const auto nearest = [&](const char* coordinates, const char* rounding, int64_t size) {
    return interpolate(x, {.sizes = {size}, .coordinates = coordinates, .rounding = rounding})
        .data()
        .to_vector<double>();
  };
  EXPECT_THAT(nearest("half_pixel", "ceil", 8), ElementsAre(1, 2, 2, 3, 3, 4, 4, 4));
  EXPECT_THAT(nearest("align_corners", "floor", 8), ElementsAre(1, 1, 1, 2, 2, 3, 3, 4));
  EXPECT_THAT(nearest("asymmetric", "round_prefer_ceil", 8), ElementsAre(1, 2, 2, 3, 3, 4, 4, 4));
  EXPECT_THAT(nearest("asymmetric", "round_prefer_floor", 8), ElementsAre(1, 1, 2, 2, 3, 3, 4, 4));
  EXPECT_THAT(nearest("tf_half_pixel_for_nn", "floor", 3), ElementsAre(1, 3, 4));
  EXPECT_THAT(nearest("asymmetric", "simple", 3), ElementsAre(1, 3, 4));
}

TEST(Interpolate, NearestMovesAnyDtypeAsUpsamplingDoes) {
  const NDArray x = counted_array({1, 2, 2, 3});
  const InterpolateOptions options{.axes = {2, 3}, .scales = {2, 3}, .coordinates = "asymmetric", .rounding = "floor"};
  EXPECT_EQ(interpolate(x, options).data().to_vector<double>(),
            upsample_nearest2d(x, {2, 3}).data().to_vector<double>());
  EXPECT_EQ(interpolate(x.to(DType::int8), options).dtype(), DType::int8);
}

TEST(Interpolate, SizesAreRoundedOnceAsFloat32) {
  const NDArray x = NDArray::zeros({10});
  EXPECT_EQ(interpolate(x, {.scales = {static_cast<double>(0.9f)}}).shape(), Shape{9});
  EXPECT_EQ(interpolate(x, {.scales = {0.85}}).shape(), Shape{8});
}

TEST(Interpolate, AnAspectIsKept) {
  const NDArray x = NDArray::zeros({1, 1, 2, 4});
  const auto shape = [&](const char* aspect) {
    return interpolate(x, {.axes = {2, 3}, .sizes = {7, 8}, .aspect = aspect}).shape();
  };
  EXPECT_EQ(shape("not_larger"), (Shape{1, 1, 4, 8}));
  EXPECT_EQ(shape("not_smaller"), (Shape{1, 1, 7, 14}));
}

TEST(Interpolate, GradientsAreRight) {
  Generator rng(1);
  const NDArray x = randn_view({2, 3, 4}, rng);
  for (const char* mode : {"nearest", "linear", "cubic"})
    for (const double scale : {0.6, 1.0, 1.7})
      for (const bool excludes : {false, true})
        check_gradients(
            [&](const std::vector<Tensor>& in) {
              return interpolate(in[0], {.mode = mode,
                                         .axes = {2, 1},
                                         .scales = {scale, 1.5},
                                         .exclude_outside = excludes,
                                         .antialias = excludes});
            },
            {x});
}

TEST(Interpolate, RefusesWhatDoesNotFit) {
  const NDArray x = NDArray::zeros({2, 3});
  EXPECT_THROW(interpolate(x, {.scales = {1}}), ShapeError);
  EXPECT_THROW(interpolate(x, {}), ShapeError);
  EXPECT_THROW(interpolate(x, {.axes = {1, -1}, .scales = {1, 1}}), ShapeError);
  EXPECT_THROW(interpolate(x, {.scales = {1, 0.1}}), ShapeError);
  EXPECT_THROW(interpolate(x, {.scales = {1, 1e30}}), ShapeError);
  EXPECT_THROW(interpolate(x, {.scales = {1, -1}}), ValueError);
  EXPECT_THROW(interpolate(x, {.mode = "fuzzy", .scales = {1, 2}}), ValueError);
  EXPECT_THROW(interpolate(x, {.scales = {1, 2}, .coordinates = "polar"}), ValueError);
  EXPECT_THROW(interpolate(x, {.scales = {1, 2}, .rounding = "up"}), ValueError);
  EXPECT_THROW(interpolate(x, {.sizes = {2, 2}, .aspect = "odd"}), ValueError);
  // Integers stay within their range only where each output is a mean.
  const NDArray integers = NDArray::zeros({2, 3}, DType::uint8);
  EXPECT_NO_THROW(interpolate(integers, {.mode = "linear", .sizes = {3, 4}}));
  EXPECT_THROW(interpolate(integers, {.mode = "cubic", .sizes = {3, 4}}), DTypeError);
  EXPECT_THROW(interpolate(integers, {.mode = "linear", .sizes = {3, 4}, .exclude_outside = true}), DTypeError);
  EXPECT_THROW(
      interpolate(integers,
                  {.mode = "linear", .sizes = {3, 4}, .coordinates = "tf_crop_and_resize", .roi = {0, 0, 1, 1}}),
      DTypeError);
}

// Values of PyTorch's documentation of the op, and its gradient against differences.
TEST(GridSample, TakesPixelsAtTheirPlaces) {
  const NDArray x = counted_array({1, 1, 2, 3});
  const NDArray middles = NDArray::from_vector<double>({-1, -1, 0, 0, 1, 1, 3, 0}, {1, 2, 2, 2});
  const auto sampled = [&](const GridSampleOptions& o) {
    return grid_sample(x, middles, o).data().to_vector<double>();
  };
  EXPECT_THAT(sampled({.align_corners = true}), ElementsAre(1, 3.5, 6, 0));
  EXPECT_THAT(sampled({.mode = "nearest", .padding_mode = "border", .align_corners = true}), ElementsAre(1, 2, 6, 3));
  EXPECT_THAT(sampled({}), ElementsAre(0.25, 3.5, 1.5, 0));
  EXPECT_THAT(sampled({.padding_mode = "border"}), ElementsAre(1, 3.5, 6, 4.5));
  EXPECT_THAT(sampled({.padding_mode = "reflection", .align_corners = true}), ElementsAre(1, 3.5, 6, 2.5));
  EXPECT_THROW(sampled({.mode = "cubic"}), ValueError);
}

TEST(GridSample, WhatLiesOutsideIsZeroWhateverThePixelsAre) {
  const double infinity = std::numeric_limits<double>::infinity();
  const NDArray x = NDArray::from_vector<double>({infinity, 2, 3, 4}, {1, 1, 2, 2});
  const NDArray grid = NDArray::from_vector<double>({-5, 0, 1.25, 0.5}, {1, 1, 2, 2});
  EXPECT_THAT(grid_sample(x, grid, {.mode = "nearest"}).data().to_vector<double>(), ElementsAre(0, 0));
  EXPECT_THAT(grid_sample(x, grid, {}).data().to_vector<double>(), ElementsAre(0, 1));
}

TEST(GridSample, GradientsAreRight) {
  Generator rng(2);
  const NDArray x = randn_view({2, 2, 3, 4}, rng), grid = randn_view({2, 2, 3, 2}, rng);
  for (const char* mode : {"bilinear", "bicubic"})
    for (const char* padding : {"zeros", "border", "reflection"})
      gradcheck(
          [&](const std::vector<Tensor>& in) {
            return grid_sample(in[0], in[1], {mode, padding, false});
          },
          {x, grid});
}

}  // namespace
}  // namespace thimble
