// Images that are resampled or padded by their own pixels: as steps what the ops are by themselves, bit for bit.
#include <cmath>

#include <gtest/gtest.h>

#include "tests/core/kernels/everywhere.h"
#include <thimble/core/ops.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/nn/inference/inference.h>

namespace thimble::nn {
namespace {

Tensor random_image(const Shape& shape, DType dtype, uint64_t seed) {
  Generator generator(seed);
  NDArray x = randn(shape, generator);
  if (dtype != DType::uint8) return x;
  for (int64_t i = 0; i < x.numel(); ++i)
    x.data<float>()[i] = std::floor(255.99f * static_cast<float>(generator.uniform()));
  return x.to(DType::uint8);
}

Graph graph_of(const std::string& op, const Attributes& attributes) {
  Graph graph;
  graph.set_output(graph.add_op("y", op, attributes, {graph.add_input("x")}));
  graph.eval();
  return graph;
}

// Otherwise a graph calls the op.
bool has_own_step(const std::string& op, const Attributes& attributes, const Tensor& x) {
  const ValueInfo info{x.shape(), x.dtype()};
  return (*inference_step_factory(op))(attributes, std::span(&info, 1)) != nullptr;
}

Attributes attributes_of_interpolate(const InterpolateOptions& options) {
  return {{"mode", options.mode},
          {"axes", options.axes},
          {"scales", options.scales},
          {"sizes", options.sizes},
          {"coordinates", options.coordinates},
          {"rounding", options.rounding},
          {"antialias", options.antialias}};
}

// Channels that fill vectors and such that do not; twice and less, one side alone, all axes named.
TEST(ResizeStep, IsTheOpOnEveryMachine) {
  const InterpolateOptions options[] = {
      {.axes = {2, 3}, .scales = {2, 2}, .coordinates = "half_pixel"},
      {.axes = {2, 3}, .scales = {2, 2}, .coordinates = "asymmetric"},
      {.axes = {2, 3}, .sizes = {11, 17}, .coordinates = "align_corners"},
      {.axes = {2, 3}, .sizes = {1, 3}, .coordinates = "pytorch_half_pixel"},
      {.axes = {2, 3}, .scales = {0.5, 0.6}, .antialias = true},
      {.axes = {3}, .scales = {1.7}},
      {.axes = {-2}, .scales = {3}},
      {.scales = {1, 1, 1.5, 2.5}},
      {.axes = {2, 3}, .scales = {1, 1}, .coordinates = "tf_half_pixel_for_nn"},
  };
  const NoGrad guard;
  for (const char* mode : {"linear", "nearest", "cubic"})
    for (InterpolateOptions o : options) {
      o.mode = mode;
      o.rounding = "floor";
      Graph graph = graph_of("interpolate", attributes_of_interpolate(o));
      for (const int64_t channels : {1, 3, 15, 16, 37, 70})
        for (const DType dtype : {DType::float32, DType::uint8}) {
          if (o.mode == "cubic" && dtype == DType::uint8) continue;
          SCOPED_TRACE(str(mode, ' ', o.coordinates, ' ', channels, ' ', dtype));
          const Tensor x = random_image({3, channels, 6, 7}, dtype, 1);
          const Tensor expected = interpolate(x, o);
          EXPECT_TRUE(has_own_step("interpolate", attributes_of_interpolate(o), x));
          everywhere([&] {
            const Tensor y = graph(x);
            ASSERT_EQ(y.shape(), expected.shape());
            EXPECT_EQ(y.dtype(), dtype);
            EXPECT_EQ(y.data().to_vector<float>(), expected.data().to_vector<float>());
          });
          if (HasFailure()) return;
        }
    }
}

// Of integers each is the mean's, half a step off at most; of equal ones, themselves.
TEST(ResizeStep, MeansOfIntegersAreRounded) {
  const Tensor x = random_image({2, 5, 9, 8}, DType::uint8, 2);
  for (const char* coordinates : {"half_pixel", "align_corners", "asymmetric"}) {
    const InterpolateOptions options{.mode = "linear", .axes = {2, 3}, .sizes = {13, 29}, .coordinates = coordinates};
    const auto got = interpolate(x, options).data().to_vector<double>();
    const auto exact = interpolate(Tensor(x.data().to(DType::float64)), options).data().to_vector<double>();
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], exact[i], 0.5001);
    for (const int value : {0, 77, 255}) {
      const Tensor same(NDArray::full({1, 2, 5, 3}, value, DType::uint8));
      for (const double y : interpolate(same, options).data().to_vector<double>()) ASSERT_EQ(y, value);
    }
  }
  const Tensor halves(NDArray::from_vector<uint8_t>({0, 1, 2, 3}, {1, 1, 1, 4}));  // 0.5 and 2.5: to even
  const InterpolateOptions half{.mode = "linear", .axes = {3}, .scales = {0.5}, .antialias = false};
  EXPECT_EQ(interpolate(halves, half).data().to_vector<int>(), (std::vector<int>{0, 2}));
}

// What lies beyond the edges is no mean, and where those are excluded there may be nothing to average.
TEST(ResizeStep, LeavesOthersToTheOp) {
  const NoGrad guard;
  const Tensor x = random_image({2, 3, 6, 5}, DType::float32, 3),
               integers = random_image({2, 3, 6, 5}, DType::uint8, 3);
  InterpolateOptions crop{.mode = "linear",
                          .axes = {2, 3},
                          .sizes = {4, 4},
                          .coordinates = "tf_crop_and_resize",
                          .roi = {-0.5, 0, 1, 1.5},
                          .extrapolation_value = 7};
  const auto attributes_of_crop = [&] {
    Attributes attributes = attributes_of_interpolate(crop);
    attributes.set("roi", crop.roi);
    attributes.set("extrapolation_value", 7.0);
    return attributes;
  };
  EXPECT_FALSE(has_own_step("interpolate", attributes_of_crop(), x));
  EXPECT_EQ(graph_of("interpolate", attributes_of_crop())(x).data().to_vector<float>(),
            interpolate(x, crop).data().to_vector<float>());
  crop.roi = {0, 0.5, 1, 1};  // no edge is crossed
  EXPECT_TRUE(has_own_step("interpolate", attributes_of_crop(), x));
  EXPECT_THROW(graph_of("interpolate", attributes_of_crop())(integers), DTypeError);
  Attributes excluding = attributes_of_interpolate({.mode = "linear", .axes = {2, 3}, .scales = {2, 2}});
  excluding.set("exclude_outside", true);
  EXPECT_THROW(graph_of("interpolate", excluding)(integers), DTypeError);
  EXPECT_EQ(graph_of("interpolate", excluding)(x).shape(), Shape({2, 3, 12, 10}));
  const Attributes channels = attributes_of_interpolate({.mode = "linear", .axes = {1}, .scales = {2}});
  EXPECT_FALSE(has_own_step("interpolate", channels, x));
  EXPECT_EQ(graph_of("interpolate", channels)(x).shape(), Shape({2, 6, 6, 5}));
}

TEST(PadStep, PutsPixelsBesideThoseThatTheyAre) {
  const NoGrad guard;
  for (const char* mode : {"reflect", "replicate", "circular"})
    for (const std::vector<int64_t>& padding : {std::vector<int64_t>{1, 2, 0, 3}, {0, 1}, {-1, 2, 2, -2}})
      for (const DType dtype : {DType::float32, DType::uint8}) {
        SCOPED_TRACE(str(mode, ' ', dtype));
        const Attributes attributes{{"padding", padding}, {"mode", mode}};
        Graph graph = graph_of("pad", attributes);
        const Tensor x = random_image({3, 5, 6, 7}, dtype, 4);
        const NDArray expected = make_op("pad", attributes)->compute(std::vector{x.data()});
        EXPECT_TRUE(has_own_step("pad", attributes, x));
        everywhere([&] { EXPECT_EQ(graph(x).data().to_vector<float>(), expected.to_vector<float>()); });
      }
}

// ONNX's lists: what is before each axis, and what is behind.
TEST(PadStep, KnowsBothWaysOfNamingAxes) {
  const NoGrad guard;
  const Tensor x = random_image({2, 3, 6, 7}, DType::uint8, 5);
  const Attributes lists[] = {{{"pads", std::vector<int64_t>{0, 0, 1, 2, 0, 0, 3, -2}}},
                              {{"pads", std::vector<int64_t>{2, 1, -2, 3}}, {"axes", std::vector<int64_t>{-1, 2}}},
                              {{"padding", std::vector<int64_t>{2, -2, 1, 3, 0, 0}}}};
  for (Attributes attributes : lists) {
    attributes.set("mode", std::string("reflect"));
    EXPECT_TRUE(has_own_step("pad", attributes, x));
    EXPECT_EQ(graph_of("pad", attributes)(x).data().to_vector<int>(),
              pad(x, {2, -2, 1, 3}, PadMode::reflect).data().to_vector<int>());
  }
}

// Channels are no pixels, nothing has nothing to repeat, and numbers of pixels take memory.
TEST(PadStep, LeavesOthersToTheOp) {
  const NoGrad guard;
  const Tensor x = random_image({1, 2, 3, 4}, DType::float32, 5);
  const auto replicating = [](const std::vector<int64_t>& padding) {
    return Attributes{{"padding", padding}, {"mode", std::string("replicate")}};
  };
  const Attributes channels = replicating({0, 0, 0, 0, 1, 1});
  EXPECT_FALSE(has_own_step("pad", channels, x));
  EXPECT_EQ(graph_of("pad", channels)(x).shape(), Shape({1, 4, 3, 4}));
  for (const std::vector<int64_t>& padding :
       {std::vector<int64_t>{0, -4, 1, 1}, {-5, 0}, {1, 1, 1}, {0, int64_t{1} << 62}})
    EXPECT_FALSE(has_own_step("pad", replicating(padding), x));
  EXPECT_THROW(graph_of("pad", replicating({-5, 0}))(x), ShapeError);
}

}  // namespace
}  // namespace thimble::nn
