#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/special_values.h"
#include "tests/core/views.h"
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/parallel.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

using Values = std::vector<double>;
using Reduce = std::function<Tensor(const Tensor&, const Shape&, bool)>;

struct ReduceCase {
  const char* name;
  Reduce op;
  std::function<double(const Values&)> naive;
  bool of_nothing = true;  // whether it is defined, and a number, over size 0
};

double naive_sum(const Values& v) {
  double total = 0;
  for (double x : v) total += x;
  return total;
}

double naive_var(const Values& v, int64_t correction) {
  const double mean = naive_sum(v) / static_cast<double>(v.size());
  double total = 0;
  for (double x : v) total += (x - mean) * (x - mean);
  return total / static_cast<double>(static_cast<int64_t>(v.size()) - correction);
}

double naive_logsumexp(const Values& v) {
  double total = 0;
  for (double x : v) total += std::exp(x);
  return std::log(total);
}

const std::vector<ReduceCase> kCases = {
    {"sum", [](const Tensor& x, const Shape& a, bool k) { return sum(x, a, k); }, naive_sum},
    {"mean", [](const Tensor& x, const Shape& a, bool k) { return mean(x, a, k); },
     [](const Values& v) { return naive_sum(v) / static_cast<double>(v.size()); }, false},
    {"max", [](const Tensor& x, const Shape& a, bool k) { return max(x, a, k); },
     [](const Values& v) { return *std::max_element(v.begin(), v.end()); }, false},
    {"min", [](const Tensor& x, const Shape& a, bool k) { return min(x, a, k); },
     [](const Values& v) { return *std::min_element(v.begin(), v.end()); }, false},
    {"var", [](const Tensor& x, const Shape& a, bool k) { return var(x, a, k, 0); },
     [](const Values& v) { return naive_var(v, 0); }, false},
    {"logsumexp", [](const Tensor& x, const Shape& a, bool k) { return logsumexp(x, a, k); }, naive_logsumexp},
};

// Axes given by the bits of a mask, every other one counted from the end.
Shape axes_of(unsigned mask, int ndim) {
  Shape axes;
  for (int d = 0; d < ndim; ++d)
    if (mask >> d & 1) axes.push_back(d % 2 ? d - ndim : d);
  return axes;
}

bool is_reduced(const Shape& axes, int d, int ndim) {
  return axes.empty() || std::find(axes.begin(), axes.end(), d) != axes.end() ||
         std::find(axes.begin(), axes.end(), d - ndim) != axes.end();
}

Shape keepdim_shape(const Shape& shape, const Shape& axes) {
  Shape out = shape;
  for (int d = 0; d < shape.ndim(); ++d)
    if (is_reduced(axes, d, shape.ndim())) out[d] = 1;
  return out;
}

// Collects the elements behind each output, and reduces each collection.
Values naive_reduce(const NDArray& x, const Shape& axes, const std::function<double(const Values&)>& naive) {
  const Shape kept = keepdim_shape(x.shape(), axes), strides = contiguous_strides(kept);
  std::vector<Values> groups(static_cast<size_t>(kept.numel()));
  for_each_index(x.shape(), [&](const Shape& index) {
    int64_t group = 0;
    for (int d = 0; d < x.ndim(); ++d) group += kept[d] == 1 ? 0 : index[d] * strides[d];
    groups[static_cast<size_t>(group)].push_back(at(x, index));
  });
  Values out;
  for (const Values& group : groups) out.push_back(naive(group));
  return out;
}

void expect_close(const NDArray& got, const Values& expected, double tolerance) {
  const auto g = got.to_vector<double>();
  ASSERT_EQ(g.size(), expected.size());
  for (size_t i = 0; i < g.size(); ++i) {
    if (std::isfinite(expected[i]))
      ASSERT_NEAR(g[i], expected[i], tolerance * (1 + std::abs(expected[i]))) << i;
    else
      ASSERT_EQ(g[i], expected[i]) << i;
  }
}

const std::vector<Shape> kReducedShapes = {{},     {1},       {7},       {0},       {2, 3},       {1, 4},
                                           {3, 0}, {2, 1, 3}, {2, 3, 4}, {0, 2, 1}, {2, 3, 1, 2}, {3, 2, 2, 2}};

TEST(Reduce, EqualsTheNaiveLoopForAllAxesAndLayouts) {
  Generator generator(1);
  for (const ReduceCase& c : kCases)
    for (const Shape& shape : kReducedShapes)
      for (unsigned mask = 0; mask < 1u << shape.ndim(); ++mask)
        for (const NDArray& x : randn_layouts(shape, generator)) {
          if (!c.of_nothing && shape.numel() == 0) continue;
          const Shape axes = axes_of(mask, shape.ndim());
          const Values expected = naive_reduce(x, axes, c.naive);
          const NDArray kept = c.op(x, axes, true).data(), gone = c.op(x, axes, false).data();
          SCOPED_TRACE(str(c.name, " of ", shape, " over ", axes));
          EXPECT_EQ(kept.shape(), keepdim_shape(shape, axes));
          EXPECT_EQ(gone.ndim(), axes.empty() ? 0 : shape.ndim() - axes.ndim());
          expect_close(kept, expected, 1e-12);
          expect_close(gone, expected, 1e-12);
        }
}

TEST(Reduce, EqualsTheNaiveLoopForLargeArrays) {
  Generator generator(2);
  for (const Shape& shape : {Shape{100'003}, Shape{3, 20'001}, Shape{2'000, 37}, Shape{9'001, 17}, Shape{70, 600},
                             Shape{5, 40, 300}, Shape{3, 5, 33, 65}})
    for (unsigned mask = 0; mask < 1u << shape.ndim(); ++mask) {
      const Shape axes = axes_of(mask, shape.ndim());
      const NDArray x = randn(shape, generator);
      // A copy whose memory has the dimensions in reverse order.
      Shape reversed;
      for (int d = shape.ndim() - 1; d >= 0; --d) reversed.push_back(d);
      const NDArray view = x.permute(reversed).clone().permute(reversed);
      for (const ReduceCase& c : kCases) {
        SCOPED_TRACE(str(c.name, " of ", shape, " over ", axes));
        const Values expected = naive_reduce(x, axes, c.naive);
        expect_close(c.op(x, axes, false).data(), expected, 1e-4);
        expect_close(c.op(view, axes, false).data(), expected, 1e-4);
      }
    }
}

TEST(Reduce, GradientsAgreeWithDifferences) {
  Generator generator(3);
  for (const ReduceCase& c : kCases)
    for (const Shape& shape : kReducedShapes)
      for (unsigned mask = 0; mask < 1u << shape.ndim(); ++mask)
        for (const NDArray& x : randn_layouts(shape, generator)) {
          if (!c.of_nothing && shape.numel() == 0) continue;
          const Shape axes = axes_of(mask, shape.ndim());
          SCOPED_TRACE(str(c.name, " of ", shape, " over ", axes));
          for (bool keepdim : {false, true})
            check_gradients([&](const auto& t) { return c.op(t[0], axes, keepdim); }, {x});
        }
}

TEST(Reduce, HasTheSameBitsForEveryThreadCount) {
  Generator generator(4);
  const int before = num_threads();
  for (const Shape& shape : {Shape{300'000}, Shape{600, 700}, Shape{20'000, 16}, Shape{40, 3, 2'000}}) {
    const NDArray x = randn(shape, generator);
    for (const ReduceCase& c : kCases)
      for (unsigned mask = 0; mask < 1u << shape.ndim(); ++mask) {
        const Shape axes = axes_of(mask, shape.ndim());
        set_num_threads(1);
        const auto one = c.op(x, axes, false).data().to_vector<float>();
        for (int threads : {2, 3}) {
          set_num_threads(threads);
          EXPECT_EQ(c.op(x, axes, false).data().to_vector<float>(), one) << c.name << shape << axes;
        }
      }
  }
  set_num_threads(before);
}

TEST(Sum, OfManyFloatsLosesNoMoreThanPairwiseSummationDoes) {
  const int64_t n = 10'000'000;
  const float tenth = 0.1f;
  const double exact = static_cast<double>(tenth) * static_cast<double>(n);
  EXPECT_NEAR(sum(NDArray::full({n}, tenth)).item<float>(), exact, exact * 1e-6);
  // Along the columns, too, where one running sum would be off by a tenth.
  const auto columns = sum(NDArray::full({n / 4, 4}, tenth), {0}).data().to_vector<float>();
  for (float s : columns) EXPECT_NEAR(s, exact / 4, exact * 1e-6);
  EXPECT_NEAR(sum(NDArray::full({n, 2}, tenth).slice(1, 0, 1)).item<float>(), exact, exact * 1e-6);
}

TEST(Reduce, OverNothingIsTheNeutralElementOrAnError) {
  const NDArray none = NDArray::ones({2, 0});
  EXPECT_EQ(sum(none, {1}).data().to_vector<float>(), (std::vector<float>{0, 0}));
  EXPECT_EQ(logsumexp(none, {1}).data().to_vector<double>(), (Values{-kInf, -kInf}));
  EXPECT_TRUE(std::isnan(mean(none).item<float>()));
  EXPECT_TRUE(std::isnan(var(none).item<float>()));
  EXPECT_THAT([&] { max(none, {1}); },
              ThrowsMessage<ShapeError>("max: nothing to reduce over in [2,0] along axes [1]"));
  EXPECT_THROW(min(none), ShapeError);
  EXPECT_EQ(max(none, {0}).shape(), Shape{0});
}

TEST(Reduce, WrongAxesAndDTypesAreRefused) {
  const NDArray x = NDArray::ones({2, 3});
  EXPECT_THAT([&] { sum(x, {2}); }, ThrowsMessage<ShapeError>(HasSubstr("sum: axis 2 is out of range")));
  EXPECT_THROW(mean(x, {-3}), ShapeError);
  EXPECT_THROW(max(x, {1, -1}), ShapeError);
  EXPECT_THROW(var(x, {0, 0}), ShapeError);
  EXPECT_THROW(softmax(x, 2), ShapeError);
  EXPECT_THAT([] { sum(NDArray::ones({2}, DType::float16)); }, ThrowsMessage<DTypeError>(HasSubstr("sum: ")));
  EXPECT_THROW(log_softmax(NDArray::ones({2}, DType::int64)), DTypeError);
}

TEST(MaxMin, NaNWinsWhereverItStands) {
  for (int64_t n : {1, 3, 100, 1000})
    for (int64_t at : {int64_t{0}, n / 2, n - 1}) {
      NDArray x = NDArray::arange(n);
      x.data<float>()[at] = std::nanf("");
      EXPECT_TRUE(std::isnan(max(x).item<float>()));
      EXPECT_TRUE(std::isnan(min(x).item<float>()));
      const NDArray columns = x.reshape({n, 1}).broadcast_to({n, 3});
      EXPECT_TRUE(std::isnan(max(columns.clone(), {0}).data().to_vector<float>()[1]));
    }
}

TEST(MaxMin, TiesShareTheGradient) {
  const Tensor x(NDArray::from_vector<float>({2, 1, 2, 0, 3, 0, 0, 0}, {2, 4}), true);
  sum(max(x, {1})).backward();
  EXPECT_EQ(x.grad().data().to_vector<float>(), (std::vector<float>{.5, 0, .5, 0, 1, 0, 0, 0}));
  const Tensor y(x.data(), true);
  min(y).backward();
  EXPECT_EQ(y.grad().data().to_vector<float>(), (std::vector<float>{0, 0, 0, .25, 0, .25, .25, .25}));
}

// Values from PyTorch 1.13.
const NDArray kX = NDArray::from_vector<double>(
    {3.082, -0.587, -4.358, 1.137, -2.169, -2.797, 0.807, 1.676, -1.439, -0.807, -1.193, 0.364}, {3, 4});

TEST(Var, GivesPyTorchsValuesForEveryCorrection) {
  expect_close(var(kX, {1}, false, 0).data(), {7.499114249999999, 3.6116681875000003, 0.4784521875000001}, 1e-12);
  expect_close(var(kX, {1}).data(), {9.998819, 4.815557583333334, 0.6379362500000002}, 1e-12);
  expect_close(var(kX, {1}, false, 2).data(), {14.998228499999998, 7.223336375000001, 0.9569043750000003}, 1e-12);
  expect_close(var(kX, {1}, false, 4).data(), {kInf, kInf, kInf}, 0);
  expect_close(var(kX, {1}, false, 5).data(), {kInf, kInf, kInf}, 0);
  EXPECT_TRUE(std::isnan(var(NDArray::ones({1, 1}), {1}).item<double>()));
  check_gradients([](const auto& t) { return var(t[0], {0}, true, 2); }, {kX.clone()});
}

TEST(Var, KeepsItsPrecisionFarFromZero) {
  const NDArray x = NDArray::from_vector<float>({10000, 10001, 10002, 10003});
  EXPECT_FLOAT_EQ(var(x, {}, false, 0).item<float>(), 1.25f);
}

struct Edge {
  std::vector<float> x;
  double logsumexp;
  Values softmax, log_softmax;
};

// Values from PyTorch 1.13.
const std::vector<Edge> kEdges = {
    {{-INFINITY, -INFINITY}, -kInf, {kNaN, kNaN}, {kNaN, kNaN}},
    {{INFINITY, 1}, kInf, {kNaN, kNaN}, {kNaN, kNaN}},
    {{1000, 1000.5}, 1000.9740600585938, {0.3775406777858734, 0.622459352016449}, {-0.9740769863128662, -0.4740769863}},
    {{-1000, -1001}, -999.686767578125, {0.7310585975646973, 0.2689414322376251}, {-0.31326165795, -1.313261628151}},
    {{-INFINITY, 2}, 2, {0, 1}, {-kInf, 0}},
    {{NAN, 1}, kNaN, {kNaN, kNaN}, {kNaN, kNaN}},
    {{INFINITY, INFINITY}, kInf, {kNaN, kNaN}, {kNaN, kNaN}},
    {{3e38f, -3e38f}, 3.0000000054977558e+38, {1, 0}, {0, -kInf}},
};

void expect_same(const Values& got, const Values& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(expected[i]))
      EXPECT_TRUE(std::isnan(got[i])) << got[i];
    else if (std::isinf(expected[i]))
      EXPECT_EQ(got[i], expected[i]);
    else
      EXPECT_NEAR(got[i], expected[i], 1e-6 * (1 + std::abs(expected[i])));
  }
}

TEST(Softmax, GivesPyTorchsValuesAtTheEdges) {
  for (const Edge& edge : kEdges) {
    const NDArray x = NDArray::from_vector(edge.x);
    SCOPED_TRACE(str(x));
    expect_same(logsumexp(x).data().to_vector<double>(), {edge.logsumexp});
    expect_same(softmax(x).data().to_vector<double>(), edge.softmax);
    expect_same(log_softmax(x).data().to_vector<double>(), edge.log_softmax);
  }
  expect_same(log_softmax(NDArray::from_vector<float>({1e4, 1e4 + 1, -1e4})).data().to_vector<double>(),
              {-1.31326162815094, -0.31326165795326233, -20001.3125});
}

TEST(Softmax, GivesPyTorchsValues) {
  expect_close(logsumexp(kX, {1}).data(), {3.2382140932631307, 2.0490590839652576, 0.8861381294599558}, 1e-12);
  expect_close(softmax(kX).data(),
               {0.8553760405184245, 0.02181376485098193, 0.0005023496869319707, 0.12230784494366158,
                0.014727201043667575, 0.007859289398329247, 0.2887889645847266, 0.6886245449732765, 0.09776993820982942,
                0.18394138545005861, 0.12503793228175292, 0.593250744058359},
               1e-12);
  expect_close(log_softmax(kX, 0).data(),
               {-0.015991859447890836, -0.6482645813058096, -5.296947441652412, -1.1555966688761168, -5.266991859447891,
                -2.8582645813058094, -0.1319474416524121, -0.6165966688761167, -4.536991859447891, -0.8682645813058096,
                -2.1319474416524122, -1.9285966688761165},
               1e-12);
}

TEST(Softmax, GradientsAgreeWithDifferences) {
  Generator generator(5);
  for (const Shape& shape : kReducedShapes)
    for (int axis = -shape.ndim(); axis < shape.ndim(); ++axis)
      for (const NDArray& x : randn_layouts(shape, generator)) {
        check_gradients([&](const auto& t) { return softmax(t[0], axis); }, {x});
        check_gradients([&](const auto& t) { return log_softmax(t[0], axis); }, {x});
      }
}

TEST(Softmax, RowsSumToOneWhateverTheirLengthAndAxis) {
  Generator generator(6);
  for (int64_t n : {1, 2, 31, 63, 64, 65, 1000})
    for (int axis : {0, 1, 2}) {
      Shape shape{3, 5, 2};
      shape[axis] = n;
      const NDArray x = randn(shape, generator);
      const Tensor p = softmax(x, axis);
      for (double total : sum(p, {axis}).data().to_vector<double>()) EXPECT_NEAR(total, 1, 1e-5);
      expect_close(exp(log_softmax(x, axis)).data(), p.data().to_vector<double>(), 1e-5);
    }
}

TEST(LogSumExp, GradientIsZeroWhereNothingHasInfluence) {
  const Tensor x(NDArray::from_vector<double>({-kInf, -kInf, -kInf, 2}, {2, 2}), true);
  sum(logsumexp(x, {1})).backward();
  EXPECT_EQ(x.grad().data().to_vector<double>(), (Values{0, 0, 0, 1}));
}

TEST(ArgMax, IsTheFirstLargestElementOfAnyDType) {
  const NDArray x = NDArray::from_vector<float>({1, 5, 5, 2, 7, 0, 7, 7}, {2, 4});
  for (DType dtype : kAllDTypes) {
    if (dtype == DType::bool_) continue;  // below
    EXPECT_EQ(argmax(x.to(dtype)).to_vector<int64_t>(), (std::vector<int64_t>{1, 0}));
    EXPECT_EQ(argmax(x.to(dtype), 0).to_vector<int64_t>(), (std::vector<int64_t>{1, 0, 1, 1}));
    EXPECT_EQ(argmax(x.to(dtype).transpose(0, 1), 0).to_vector<int64_t>(), (std::vector<int64_t>{1, 0}));
  }
  EXPECT_EQ(argmax(NDArray::from_vector<bool>({false, true, true})).item<int64_t>(), 1);
  EXPECT_EQ(argmax(NDArray::from_vector<uint64_t>({1, UINT64_MAX, 2})).item<int64_t>(), 1);
  EXPECT_EQ(argmax(NDArray::from_vector<float>({1, NAN, 3, NAN})).item<int64_t>(), 1);
  EXPECT_EQ(argmax(NDArray::from_vector<float>({-INFINITY, -INFINITY})).item<int64_t>(), 0);
  EXPECT_EQ(argmax(NDArray::ones({0, 3})).shape(), Shape{0});
  EXPECT_THROW(argmax(NDArray::ones({3, 0})), ShapeError);
  EXPECT_THROW(argmax(x, 2), ShapeError);
}

TEST(ArgMax, EqualsTheNaiveLoop) {
  Generator generator(7);
  for (const Shape& shape : {Shape{50}, Shape{300, 70}, Shape{4, 5, 6}})
    for (int axis = 0; axis < shape.ndim(); ++axis) {
      const NDArray x = randn_view(shape, generator);
      expect_close(argmax(x, axis),
                   naive_reduce(x, {axis},
                                [](const Values& v) {
                                  return static_cast<double>(std::max_element(v.begin(), v.end()) - v.begin());
                                }),
                   0);
    }
}

TEST(SumTo, UndoesBroadcasting) {
  Generator generator(8);
  const std::vector<std::pair<Shape, Shape>> cases = {
      {{}, {}},         {{2, 3}, {}},        {{2, 3}, {3}},       {{2, 3}, {1, 3}},    {{2, 3}, {2, 1}},
      {{2, 3}, {1, 1}}, {{4, 2, 3}, {2, 1}}, {{2, 3}, {2, 3}},    {{0, 3}, {1, 3}},    {{0, 3}, {3}},
      {{1, 3}, {3}},    {{0, 3}, {0, 1}},    {{5, 1, 4}, {1, 4}}, {{9, 3, 2}, {3, 1}}, {{17, 2}, {2}}};
  for (const auto& pair : cases)
    for (const NDArray& x : randn_layouts(pair.first, generator)) {
      const Shape &full = pair.first, &shape = pair.second;
      SCOPED_TRACE(str(full, " to ", shape));
      const NDArray out = sum_to(x, shape).data();
      ASSERT_EQ(out.shape(), shape);
      Shape axes;
      const int extra = full.ndim() - shape.ndim();
      for (int d = 0; d < full.ndim(); ++d)
        if (d < extra || shape[d - extra] != full[d]) axes.push_back(d);
      expect_close(out, axes.empty() ? x.to_vector<double>() : naive_reduce(x, axes, naive_sum), 1e-12);
      check_gradients([&](const auto& t) { return sum_to(t[0], shape); }, {x});
    }
}

// Whoever sums up the shards elsewhere, and adds their sums up as the tree, gets the same bits.
TEST(SumTo, OverABatchIsTheTreeOfItsShardsSums) {
  Generator generator(9);
  const int before = num_threads();
  for (const int64_t n : {2, 7, 8, 64, 100})
    for (const Shape& sample : {Shape{10}, {300}, {8, 7, 7}, {3, 30, 30}})
      for (const bool channels_last : {false, true}) {
        Shape full = sample, shape{sample[0]}, axes{0};
        full.insert(0, n);
        for (int d = 2; d < full.ndim(); ++d) {
          shape.push_back(1);
          axes.push_back(d);
        }
        const NDArray dense = randn(full, generator);
        const NDArray x = channels_last ? dense.transpose(1, -1).contiguous().transpose(1, -1) : dense;
        SCOPED_TRACE(str(full, channels_last ? ", channels last" : ""));
        const int64_t size = (n + 7) / 8;
        std::vector<NDArray> level;
        for (int64_t first = 0; first < n; first += size)
          level.push_back(sum(x.slice(0, first, first + size), axes).data());
        while (level.size() > 1) {
          std::vector<NDArray> next;
          for (size_t i = 0; i < level.size(); i += 2)
            next.push_back(i + 1 < level.size() ? (Tensor(level[i]) + Tensor(level[i + 1])).data() : level[i]);
          level = next;
        }
        for (const int threads : {1, 3}) {
          set_num_threads(threads);
          EXPECT_EQ(sum_to(x, shape).data().to_vector<float>(), level[0].to_vector<float>());
        }
      }
  set_num_threads(before);
}

TEST(SumTo, RefusesShapesThatDoNotBroadcast) {
  EXPECT_THAT([] { sum_to(NDArray::ones({2, 3}), {2}); }, ThrowsMessage<ShapeError>(HasSubstr("sum_to: ")));
  EXPECT_THROW(sum_to(NDArray::ones({1, 3}), {2, 3}), ShapeError);
  EXPECT_THROW(sum_to(NDArray::ones({3}), {1, 3}), ShapeError);
}

TEST(Reduce, OpsAreRemadeFromTheirAttributes) {
  const Tensor x(kX, true);
  for (const Tensor& made : {sum(x, {0}), mean(x, {-1}, true), max(x), min(x, {0, 1}), var(x, {1}, true, 0),
                             logsumexp(x, {1}), softmax(x, 0), log_softmax(x), sum_to(x, {1, 4})}) {
    auto op = make_op(made.op()->name(), made.op()->attributes());
    EXPECT_EQ(op->name(), made.op()->name());
    EXPECT_EQ(op->attributes(), made.op()->attributes());
    const NDArray again = apply(std::move(op), {x}).data();
    EXPECT_EQ(again.shape(), made.shape());
    EXPECT_EQ(again.to_vector<double>(), made.data().to_vector<double>());
  }
}

TEST(Reduce, NoAxesMayMeanNone) {
  Generator rng(11);
  const NDArray x = randn_view({2, 1, 3}, rng);
  for (const char* op : {"sum", "mean", "prod", "max", "min", "logsumexp"}) {
    SCOPED_TRACE(op);
    const Attributes a{{"keepdim", true}, {"noop_without_axes", true}};
    const auto f = [&](const std::vector<Tensor>& in) { return apply(make_op(op, a), {in[0]}); };
    const Tensor y = f({x});
    ASSERT_EQ(y.shape(), x.shape());
    const auto got = y.data().to_vector<double>(), expected = x.to_vector<double>();
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-14);
    check_gradients(f, {x});
    EXPECT_EQ(make_op(op, make_op(op, a)->attributes())->attributes(), make_op(op, a)->attributes());
  }
}

}  // namespace
}  // namespace thimble
