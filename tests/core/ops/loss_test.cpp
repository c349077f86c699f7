#include <algorithm>
#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/special_values.h"
#include "tests/core/views.h"
#include <thimble/core/ops/loss.h>
#include <thimble/core/ops/reduce.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

const Reduction kReductions[] = {Reduction::none, Reduction::mean, Reduction::sum};

void expect_near(const Tensor& got, const std::vector<double>& expected, double tolerance = 1e-9) {
  const auto g = got.data().to_vector<double>();
  ASSERT_EQ(g.size(), expected.size());
  for (size_t i = 0; i < g.size(); ++i) EXPECT_NEAR(g[i], expected[i], tolerance) << "element " << i;
}

NDArray random_target(const Shape& shape, int64_t classes, Generator& generator) {
  NDArray target(shape, DType::int64);
  for (int64_t i = 0; i < target.numel(); ++i)
    target.data<int64_t>()[i] = static_cast<int64_t>(generator.below(static_cast<uint64_t>(classes)));
  return target;
}

// Values from PyTorch 1.13.
const NDArray kLogits = NDArray::from_vector<double>(
    {3.082, -0.587, -4.358, 1.137, -2.169, -2.797, 0.807, 1.676, -1.439, -0.807, -1.193, 0.364}, {3, 4});
const NDArray kTarget = NDArray::from_vector<int64_t>({2, 0, 3});

struct Expected {
  double smoothing;
  std::vector<double> losses, grad;  // without reduction
};

const std::vector<Expected> kExpected = {
    {0,
     {7.59621409326313, 4.218059083965257, 0.5221381294599559},
     {0.8553760405184245, 0.021813764850981934, -0.999497650313068, 0.12230784494366155, -0.9852727989563325,
      0.007859289398329248, 0.2887889645847266, 0.6886245449732765, 0.09776993820982943, 0.18394138545005861,
      0.1250379322817529, -0.406749255941641}},
    {0.1,
     {7.178564093263131, 4.063234083965257, 0.6354131294599559},
     {0.8303760405184245, -0.003186235149018068, -0.9244976503130681, 0.09730784494366154, -0.9102727989563325,
      -0.01714071060167075, 0.26378896458472656, 0.6636245449732765, 0.07276993820982944, 0.15894138545005862,
      0.1000379322817529, -0.33174925594164106}},
    {1,
     {3.4197140932631305, 2.6698090839652573, 1.6548881294599558},
     {0.6053760405184245, -0.22818623514901806, -0.24949765031306803, -0.12769215505633846, -0.2352727989563324,
      -0.24214071060167075, 0.03878896458472658, 0.4386245449732765, -0.15223006179017057, -0.06605861454994139,
      -0.12496206771824711, 0.343250744058359}}};

TEST(CrossEntropy, GivesPyTorchsValuesAndGradients) {
  for (const Expected& expected : kExpected) {
    const std::vector<double>&losses = expected.losses, &grads = expected.grad;
    double total = 0;
    for (double l : losses) total += l;
    const auto with = [&](Reduction r) { return CrossEntropyOptions{r, expected.smoothing}; };
    expect_near(cross_entropy(kLogits, kTarget, with(Reduction::none)), losses);
    expect_near(cross_entropy(kLogits, kTarget, with(Reduction::sum)), {total});
    expect_near(cross_entropy(kLogits, kTarget, with(Reduction::mean)), {total / 3});
    for (bool create_graph : {false, true}) {  // the fused gradient and the composed one
      const Tensor x(kLogits, true);
      const Tensor sum_loss = cross_entropy(x, kTarget, with(Reduction::sum));
      expect_near(grad(sum_loss, {x}, {}, {.create_graph = create_graph})[0], grads);
      std::vector<double> thirds = grads;
      for (double& g : thirds) g /= 3;
      expect_near(grad(cross_entropy(x, kTarget, with(Reduction::mean)), {x}, {}, {.create_graph = create_graph})[0],
                  thirds);
    }
  }
}

TEST(CrossEntropy, GivesPyTorchsValuesForImages) {
  const Tensor x(
      NDArray::from_vector<double>(
          {-1.713, 2.201, -2.142, 0.245, -1.133, 0.746, -1.784, -3.018, 0.741, 2.913, 1.88, 1.55}, {2, 3, 2}),
      true);
  const NDArray target = NDArray::from_vector<int64_t>({1, 0, 2, 2}, {2, 2});
  const std::vector<double> grads = {0.05606698842707396,   -0.03482512275642738,  -0.16930542496674889,
                                     0.009049906902097032,  0.11323843653967491,   0.02577521585433037,
                                     -0.011905486947376118, -0.016139109252483456, 0.042804730538200414,
                                     0.1819749783373353,    -0.0308992435908243,   -0.1658358690848519};
  for (bool create_graph : {false, true}) {
    const Tensor loss = cross_entropy(x, target, {.label_smoothing = 0.2});
    expect_near(loss, {1.1343264731683633});
    expect_near(grad(loss, {x}, {}, {.create_graph = create_graph})[0], grads);
  }
  expect_near(nll_loss(log_softmax(x, 1), target, Reduction::none),
              {1.6636567093042236, 0.3183252478665451, 0.2969654401391339, 1.5929584953635503});
}

TEST(CrossEntropy, GradientsAgreeWithDifferences) {
  Generator generator(1);
  for (const Shape& shape : {Shape{1, 1}, Shape{1, 4}, Shape{3, 1}, Shape{3, 4}, Shape{0, 3}, Shape{2, 3, 2},
                             Shape{2, 2, 1, 3}, Shape{2, 3, 0}}) {
    Shape target_shape = shape;
    target_shape.erase(1);
    const NDArray target = random_target(target_shape, shape[1], generator);
    for (const NDArray& x : randn_layouts(shape, generator))
      for (Reduction reduction : kReductions)
        for (double smoothing : {0.0, 0.3}) {
          if (x.numel() == 0 && reduction == Reduction::mean) continue;  // NaN
          check_gradients(
              [&](const auto& t) {
                return cross_entropy(t[0], target, {.reduction = reduction, .label_smoothing = smoothing});
              },
              {x});
          check_gradients([&](const auto& t) { return nll_loss(t[0], target, reduction); }, {x});
        }
  }
}

TEST(CrossEntropy, IsNllLossOfLogSoftmax) {
  Generator generator(2);
  for (int round = 0; round < 30; ++round) {
    const int64_t n = static_cast<int64_t>(1 + generator.below(70)),
                  classes = static_cast<int64_t>(1 + generator.below(300));
    const NDArray x = randn({n, classes}, generator), target = random_target({n}, classes, generator);
    for (Reduction reduction : kReductions) {
      const auto expected = nll_loss(log_softmax(x.to(DType::float64), 1), target, reduction);
      expect_near(cross_entropy(x, target, {.reduction = reduction}), expected.data().to_vector<double>(), 1e-3);
    }
  }
}

TEST(CrossEntropy, TargetsMayBeAnyIndexType) {
  const std::vector<float> expected = cross_entropy(kLogits.to(DType::float32), kTarget).data().to_vector<float>();
  for (DType dtype : {DType::int32, DType::uint8})
    EXPECT_EQ(cross_entropy(kLogits.to(DType::float32), kTarget.to(dtype)).data().to_vector<float>(), expected);
}

TEST(CrossEntropy, KeepsItsPrecisionForLargeLogits) {
  const Tensor x(NDArray::from_vector<float>({1e4, 1e4 + 1, -1e4}, {1, 3}), true);
  const Tensor loss = cross_entropy(x, NDArray::from_vector<int64_t>({0}));
  expect_near(loss, {1.3132616877}, 1e-6);
  expect_near(grad(loss, {x})[0], {0.2689414214 - 1, 0.7310585786, 0}, 1e-6);
}

TEST(CrossEntropy, AnImpossibleClassCostsNothingUnlessSmoothed) {
  const Tensor x = NDArray::from_vector<double>({0, -kInf, 1}, {1, 3});
  const Tensor target = NDArray::from_vector<int64_t>({0});
  EXPECT_NEAR(cross_entropy(x, target).item<double>(), 1.3132616875, 1e-9);
  EXPECT_EQ(cross_entropy(x, target, {.label_smoothing = 0.1}).item<double>(), kInf);
}

TEST(CrossEntropy, MeanOverNoExamplesIsNaN) {
  EXPECT_TRUE(std::isnan(cross_entropy(NDArray::ones({0, 3}), NDArray({0}, DType::int64)).item<double>()));
}

// What PyTorch gives: an ignored target's loss and gradient are 0, and the mean is over the others.
TEST(CrossEntropy, IgnoresTargetsOfIgnoreIndex) {
  for (const Expected& expected : kExpected)
    for (const int64_t ignored : {int64_t{-100}, int64_t{0}, int64_t{7}}) {
      const NDArray target = NDArray::from_vector<int64_t>({2, ignored, 3});
      const auto with = [&](Reduction r) { return CrossEntropyOptions{r, expected.smoothing, ignored}; };
      const double first = expected.losses[0], last = expected.losses[2];
      expect_near(cross_entropy(kLogits, target, with(Reduction::none)), {first, 0, last});
      expect_near(cross_entropy(kLogits, target, with(Reduction::sum)), {first + last});
      expect_near(cross_entropy(kLogits, target, with(Reduction::mean)), {(first + last) / 2});
      std::vector<double> grads = expected.grad;
      std::fill_n(grads.begin() + 4, 4, 0.0);
      std::vector<double> halves = grads;
      for (double& g : halves) g /= 2;
      for (bool create_graph : {false, true}) {
        const Tensor x(kLogits, true);
        auto gradient = [&](Reduction r, const Tensor& out_grad) {
          return grad(cross_entropy(x, target, with(r)), {x}, out_grad, {.create_graph = create_graph})[0];
        };
        expect_near(gradient(Reduction::sum, {}), grads);
        expect_near(gradient(Reduction::none, NDArray::ones({3}, DType::float64)), grads);
        expect_near(gradient(Reduction::mean, {}), halves);
      }
    }
  const NDArray target = NDArray::from_vector<int64_t>({2, -100, 3});
  EXPECT_EQ(target.to_vector<int64_t>(), (std::vector<int64_t>{2, -100, 3}));
  expect_near(nll_loss(log_softmax(kLogits, 1), target), {(kExpected[0].losses[0] + kExpected[0].losses[2]) / 2});
}

TEST(CrossEntropy, MeanOverNothingButIgnoredTargetsIsNaNAndItsGradientZero) {
  const NDArray target = NDArray::full({3}, -100, DType::int64);
  for (bool create_graph : {false, true}) {
    const Tensor x(kLogits, true);
    for (const Tensor& loss :
         {cross_entropy(x, target), cross_entropy(x, target, {.label_smoothing = 0.1}), nll_loss(x, target)}) {
      EXPECT_TRUE(std::isnan(loss.item<double>()));
      expect_near(grad(loss, {x}, {}, {.create_graph = create_graph})[0], std::vector<double>(12));
    }
    EXPECT_EQ(cross_entropy(x, target, {.reduction = Reduction::sum}).item<double>(), 0);
  }
}

TEST(CrossEntropy, GradientsWithIgnoredTargetsAgreeWithDifferences) {
  Generator generator(4);
  for (const Shape& shape : {Shape{4, 3}, Shape{2, 3, 2}, Shape{2, 2, 2, 3}}) {
    Shape target_shape = shape;
    target_shape.erase(1);
    NDArray target = random_target(target_shape, shape[1], generator);
    target.data<int64_t>()[1] = 200;
    for (const NDArray& x : randn_layouts(shape, generator))
      for (Reduction reduction : kReductions) {
        check_gradients(
            [&](const auto& t) {
              return cross_entropy(t[0], target, {.reduction = reduction, .label_smoothing = 0.2, .ignore_index = 200});
            },
            {x});
        check_gradients([&](const auto& t) { return nll_loss(t[0], target, reduction, 200); }, {x});
      }
  }
  // An ignored row may hold anything.
  const NDArray target = NDArray::from_vector<int64_t>({0, -100});
  for (bool create_graph : {false, true}) {
    const Tensor x(NDArray::from_vector<double>({0, 0, kInf, kInf}, {2, 2}), true);
    const Tensor loss = cross_entropy(x, target);
    expect_near(loss, {std::log(2)});
    expect_near(grad(loss, {x}, {}, {.create_graph = create_graph})[0], {-0.5, 0.5, 0, 0});
  }
}

TEST(CrossEntropy, MisuseIsRefusedWithNumbers) {
  const NDArray x = NDArray::ones({2, 3}), t = NDArray::zeros({2}, DType::int64);
  EXPECT_THAT(
      [&] {
        cross_entropy(x, NDArray::from_vector<int64_t>({0, 3}));
      },
      ThrowsMessage<ValueError>("cross_entropy: target 1 is class 3, but there are 3 classes"));
  EXPECT_THAT(
      [&] {
        cross_entropy(x, NDArray::from_vector<int64_t>({-1, 0}));
      },
      ThrowsMessage<ValueError>(HasSubstr("class -1")));
  EXPECT_THAT([&] { cross_entropy(x, NDArray::zeros({3}, DType::int64)); },
              ThrowsMessage<ShapeError>("cross_entropy: input [2,3] expects target [2], got [3]"));
  EXPECT_THROW(cross_entropy(NDArray::ones({3}), t), ShapeError);
  EXPECT_THROW(cross_entropy(x, NDArray::zeros({2})), DTypeError);
  EXPECT_THROW(cross_entropy(NDArray::ones({2, 3}, DType::int32), t), DTypeError);
  EXPECT_THROW(cross_entropy(x, t, {.label_smoothing = 1.5}), ValueError);
  EXPECT_THAT(
      [&] {
        nll_loss(x, NDArray::from_vector<int64_t>({0, 7}));
      },
      ThrowsMessage<ValueError>(HasSubstr("nll_loss: target 1 is class 7")));
}

TEST(MseLoss, IsTheMeanOfSquaredDifferences) {
  const Tensor a = NDArray::from_vector<double>({1, 2, 3, 4}, {2, 2});
  const Tensor b = NDArray::from_vector<double>({1, 0, 0, 8}, {2, 2});
  expect_near(mse_loss(a, b, Reduction::none), {0, 4, 9, 16});
  expect_near(mse_loss(a, b, Reduction::sum), {29});
  expect_near(mse_loss(a, b), {7.25});
  EXPECT_TRUE(std::isnan(mse_loss(NDArray::ones({0}), NDArray::ones({0})).item<float>()));
}

TEST(MseLoss, GradientsAgreeWithDifferences) {
  Generator generator(3);
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{3, 4}, Shape{2, 1, 3}})
    for (const NDArray& x : randn_layouts(shape, generator))
      for (const NDArray& target : randn_layouts(shape, generator))
        for (Reduction reduction : kReductions)
          check_gradients([&](const auto& t) { return mse_loss(t[0], t[1], reduction); }, {x, target});
}

TEST(MseLoss, OperandsMustMatch) {
  EXPECT_THAT([] { mse_loss(NDArray::ones({2}), NDArray::ones({3})); },
              ThrowsMessage<ShapeError>("mse_loss: input [2] and target [3] differ"));
  EXPECT_THROW(mse_loss(NDArray::ones({2}), NDArray::ones({2}, DType::float64)), DTypeError);
}

TEST(Losses, AreRemadeFromTheirAttributes) {
  for (Reduction reduction : kReductions) {
    const auto remade = [](const Tensor& made, std::vector<Tensor> inputs) {
      auto op = make_op(made.op()->name(), made.op()->attributes());
      EXPECT_EQ(op->attributes(), made.op()->attributes());
      EXPECT_EQ(apply(std::move(op), std::move(inputs)).data().to_vector<double>(), made.data().to_vector<double>());
    };
    const Tensor x(kLogits, true), other = NDArray::zeros({3, 4}, DType::float64);
    remade(cross_entropy(x, kTarget, {.reduction = reduction, .label_smoothing = 0.25, .ignore_index = 3}),
           {x, kTarget});
    remade(nll_loss(x, kTarget, reduction, 2), {x, kTarget});
    remade(mse_loss(x, other, reduction), {x, other});
  }
}

TEST(Losses, ReductionsHaveNames) {
  for (Reduction reduction : kReductions) EXPECT_EQ(reduction_from_name(name(reduction)), reduction);
  EXPECT_THROW(reduction_from_name("median"), ValueError);
}

}  // namespace
}  // namespace thimble
