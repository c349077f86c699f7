// Ops on windows of images and channels beside the pools of pool_test.cpp.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/views.h"
#include <thimble/core/ops/conv.h>
#include <thimble/core/ops/indexing.h>
#include <thimble/core/ops/local_response_norm.h>
#include <thimble/core/ops/loss.h>
#include <thimble/core/ops/pad_same.h>
#include <thimble/core/ops/pool.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>

namespace thimble {
namespace {

using ::testing::ElementsAre;

Tensor pooled(const char* op, Attributes attributes, const Tensor& x) {
  for (const char* key : {"stride", "dilation"})
    if (!attributes.contains(key)) attributes.set(key, std::vector<int64_t>{1, 1});
  if (!attributes.contains("padding")) attributes.set("padding", std::vector<int64_t>{0, 0});
  if (!attributes.contains("ceil_mode")) attributes.set("ceil_mode", false);
  return apply(make_op(op, attributes), {x});
}

// The sum of f(element) over each window, and how many elements and cells of the padding it sees.
struct WindowSums {
  std::vector<double> sums, inside, padded;
};

WindowSums plain_windows(const NDArray& x, Pair kernel, Pair stride, const Padding& p, Pair dilation, int64_t rows,
                         int64_t columns, double (*f)(double)) {
  WindowSums all;
  for_each_index({x.shape(0), x.shape(1), rows, columns}, [&](const Shape& o) {
    double sum = 0, inside = 0, padded = 0;
    for_each_index({kernel.height, kernel.width}, [&](const Shape& k) {
      const int64_t h = o[2] * stride.height - p.top + k[0] * dilation.height,
                    w = o[3] * stride.width - p.left + k[1] * dilation.width;
      const bool is_inside = h >= 0 && w >= 0 && h < x.shape(2) && w < x.shape(3);
      if (is_inside) sum += f(at(x, {o[0], o[1], h, w}));
      inside += is_inside;
      padded += h < x.shape(2) + p.bottom && w < x.shape(3) + p.right;
    });
    all.sums.push_back(sum);
    all.inside.push_back(inside);
    all.padded.push_back(padded);
  });
  return all;
}

void expect_values_near(const NDArray& got, const std::vector<double>& expected) {
  const auto values = got.to_vector<double>();
  ASSERT_EQ(values.size(), expected.size());
  for (size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(values[i], expected[i], 1e-10) << i;
}

TEST(AvgPool2d, AveragesOverWindowsWithGaps) {
  Generator rng(1);
  const NDArray x = randn_view({2, 3, 6, 7}, rng);
  for (const bool counts : {false, true})
    for (const bool ceil_mode : {false, true}) {
      const auto f = [&](const Tensor& in) {
        return pooled("avg_pool2d",
                      {{"kernel_size", std::vector<int64_t>{2, 3}},
                       {"stride", std::vector<int64_t>{2, 2}},
                       {"padding", std::vector<int64_t>{1, 0, 0, 2}},
                       {"dilation", std::vector<int64_t>{3, 2}},
                       {"ceil_mode", ceil_mode},
                       {"count_include_pad", counts}},
                      in);
      };
      const NDArray y = f(x).data();
      ASSERT_EQ(y.shape(), (Shape{2, 3, ceil_mode ? 3 : 2, 3}));
      WindowSums windows =
          plain_windows(x, {2, 3}, 2, {1, 0, 0, 2}, {3, 2}, y.shape(2), y.shape(3), [](double v) { return v; });
      for (size_t i = 0; i < windows.sums.size(); ++i)
        windows.sums[i] /= counts ? windows.padded[i] : windows.inside[i];
      expect_values_near(y, windows.sums);
      check_gradients([&](const std::vector<Tensor>& in) { return f(in[0]); }, {x});
    }
}

TEST(LpPool2d, IsTheNormOfEachWindow) {
  Generator rng(2);
  const NDArray x = randn_view({2, 3, 5, 6}, rng);
  std::vector<double> squares = plain_windows(x, {2, 3}, {2, 1}, 0, 1, 2, 4, [](double v) { return v * v; }).sums;
  for (double& v : squares) v = std::sqrt(v);
  expect_values_near(lp_pool2d(x, 2, {2, 3}, {.stride = Pair(2, 1)}).data(), squares);
  expect_values_near(lp_pool2d(x, 1, {2, 3}, {.stride = Pair(2, 1), .ceil_mode = true}).data(),
                     plain_windows(x, {2, 3}, {2, 1}, 0, 1, 3, 4, [](double v) { return std::abs(v); }).sums);
  for (const double p : {1.0, 2.0, 3.0})
    check_gradients([&](const std::vector<Tensor>& in) { return lp_pool2d(in[0], p, 2); }, {x});
  EXPECT_THROW(lp_pool2d(x, 0, 2), ValueError);
}

TEST(Pools, PaddingMayDifferBetweenSidesAndFollowFromTheSize) {
  Generator rng(3);
  const NDArray x = randn_view({1, 2, 5, 6}, rng);
  const std::vector<int64_t> kernel{3, 3}, stride{2, 2};
  const Tensor around = pad(x, {0, 1, 1, 1}, -100);  // what SAME needs for 3x3 of stride 2
  const Tensor expected = max_pool2d(around, 3, {.stride = 2});
  for (const Attributes& more :
       {Attributes{{"padding", std::vector<int64_t>{1, 0, 1, 1}}}, Attributes{{"auto_pad", std::string("upper")}}}) {
    Attributes a = more;
    a.set("kernel_size", kernel);
    a.set("stride", stride);
    const Tensor y = pooled("max_pool2d", a, x);
    EXPECT_EQ(y.data().to_vector<double>(), expected.data().to_vector<double>());
    a.set("count_include_pad", false);
    check_gradients([&](const std::vector<Tensor>& in) { return pooled("avg_pool2d", a, in[0]); }, {x});
  }
  EXPECT_THROW(pooled("max_pool2d", {{"kernel_size", kernel}, {"padding", std::vector<int64_t>{3, 0}}}, x), ValueError);
}

TEST(MaxPool2dIndices, NameTheElementsThatWon) {
  Generator rng(4);
  const NDArray x = randn_view({2, 3, 6, 5}, rng);
  const MaxPool2dOptions options{.stride = 2, .padding = 1, .dilation = {1, 2}};
  const Tensor y = max_pool2d(x, {3, 2}, options), indices = max_pool2d_indices(x, {3, 2}, options);
  const Tensor planes = reshape(x, {2, 3, 30});
  const Tensor found = gather(planes, 2, reshape(indices, {2, 3, indices.numel() / 6}));
  EXPECT_EQ(found.data().to_vector<double>(), y.data().to_vector<double>());
}

TEST(MaxUnpool2d, PutsElementsWhereTheyCameFrom) {
  Generator rng(5);
  const NDArray x = randn_view({2, 2, 4, 6}, rng);
  const Tensor y = max_pool2d(x, 2), indices = max_pool2d_indices(x, 2);
  const NDArray back = max_unpool2d(y, indices, {4, 6}).data();
  for_each_index(x.shape(), [&](const Shape& i) {
    const bool won = at(y.data(), {i[0], i[1], i[2] / 2, i[3] / 2}) == at(x, i);
    EXPECT_EQ(at(back, i), won ? at(x, i) : 0);
  });
  check_gradients(
      [&](const std::vector<Tensor>& in) {
        return max_unpool2d(in[0], indices, {5, 6});
      },
      {randn_view(y.shape(), rng)});
  const NDArray twice = NDArray::zeros(y.shape(), DType::int64);  // the last one stays
  check_gradients(
      [&](const std::vector<Tensor>& in) {
        return max_unpool2d(in[0], twice, {4, 6});
      },
      {randn_view(y.shape(), rng)});
  EXPECT_THROW(max_unpool2d(y, indices, {2, 2}), ValueError);
  EXPECT_THROW(max_unpool2d(y, NDArray::zeros({2, 2}, DType::int64), {4, 6}), ShapeError);
}

TEST(PadSame2d, MakesAsManyWindowsAsStridesFit) {
  Generator rng(6);
  for (const int64_t size : {1, 4, 5, 7})
    for (const int64_t stride : {1, 2, 3}) {
      const NDArray x = randn_view({1, 1, size, size}, rng), w = randn_view({1, 1, 3, 2}, rng);
      const PadSame2dOptions options{.stride = stride, .dilation = {2, 1}};
      const Tensor y = conv2d(pad_same2d(x, {3, 2}, options), w, {}, {.stride = stride, .dilation = {2, 1}});
      const int64_t wanted = (size + stride - 1) / stride;
      EXPECT_EQ(y.shape(), (Shape{1, 1, wanted, wanted})) << size << ' ' << stride;
    }
  const NDArray ones = NDArray::ones({1, 1, 1, 1});
  EXPECT_THAT(pad_same2d(ones, {1, 2}).data().to_vector<double>(), ElementsAre(1, 0));
  EXPECT_THAT(pad_same2d(ones, {1, 2}, {.upper = false}).data().to_vector<double>(), ElementsAre(0, 1));
  EXPECT_THROW(pad_same2d(ones, {0, 2}), ValueError);
}

TEST(LocalResponseNorm, DividesByWhatNeighbouringChannelsHold) {
  Generator rng(7);
  const NDArray x = randn_view({2, 5, 3}, rng);
  for (const int64_t size : {1, 2, 3, 4, 11}) {
    const LocalResponseNormOptions o{.alpha = 0.3, .beta = 0.6, .k = 1.5};
    const NDArray y = local_response_norm(x, size, o).data();
    for_each_index(x.shape(), [&](const Shape& i) {
      double sum = 0;
      for (int64_t c = i[1] - size / 2; c <= i[1] + (size - 1) / 2; ++c)
        if (c >= 0 && c < 5) sum += std::pow(at(x, {i[0], c, i[2]}), 2);
      EXPECT_NEAR(at(y, i), at(x, i) / std::pow(1.5 + 0.3 * sum / static_cast<double>(size), 0.6), 1e-12);
    });
    check_gradients([&](const std::vector<Tensor>& in) { return local_response_norm(in[0], size, o); }, {x});
  }
}

TEST(WeightedNllLoss, CountsEachTargetAsMuchAsItsClass) {
  Generator rng(8);
  const NDArray x = randn_view({4, 3, 2}, rng), weight = NDArray::from_vector<double>({0.5, 2, 3});
  const NDArray target = NDArray::from_vector<int64_t>({0, 2, 1, 1, 9, 0, 2, 9}, {4, 2});
  const NDArray losses = weighted_nll_loss(x, target, weight, Reduction::none, 9).data();
  double total = 0, weights = 0;
  for_each_index({4, 2}, [&](const Shape& i) {
    const auto c = static_cast<int64_t>(at(target, i));
    const double w = c == 9 ? 0 : at(weight, {c}), loss = c == 9 ? 0 : -at(x, {i[0], c, i[1]}) * w;
    EXPECT_NEAR(at(losses, i), loss, 1e-12);
    total += loss;
    weights += w;
  });
  EXPECT_NEAR(weighted_nll_loss(x, target, weight, Reduction::sum, 9).item<double>(), total, 1e-12);
  EXPECT_NEAR(weighted_nll_loss(x, target, weight, Reduction::mean, 9).item<double>(), total / weights, 1e-12);
  for (const Reduction reduction : {Reduction::none, Reduction::sum, Reduction::mean})
    check_gradients(
        [&](const std::vector<Tensor>& in) { return weighted_nll_loss(in[0], target, in[1], reduction, 9); },
        {x, weight});
}

}  // namespace
}  // namespace thimble
