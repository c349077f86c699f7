#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <set>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/special_values.h"
#include "tests/core/views.h"
#include <thimble/core/kernels/elementwise/elementwise.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

const Shape kShapes[] = {{}, {1}, {0}, {3}, {1, 4, 1}, {3, 0, 2}, {2, 3}, {2, 3, 4}};

const std::pair<Shape, Shape> kBroadcasts[] = {
    {{}, {}},
    {{3}, {}},
    {{}, {2, 2}},
    {{1}, {1}},
    {{0}, {1}},
    {{2, 3}, {2, 3}},
    {{2, 3}, {3}},
    {{2, 3}, {2, 1}},
    {{2, 1}, {1, 3}},
    {{4, 0, 3}, {3}},
    {{1}, {2, 2, 2}},
    {{2, 3, 4}, {3, 1}},
    {{2, 3, 4}, {2, 1, 4}},
    {{1, 3, 1}, {2, 1, 4}},
};

/// Replaces every element of a view.
void transform(NDArray& view, const std::function<double(double)>& f) {
  for_each_index(view.shape(), [&](const Shape& index) {
    int64_t offset = 0;
    for (int d = 0; d < view.ndim(); ++d) offset += index[d] * view.strides()[d];
    view.data<double>()[offset] = f(view.data<double>()[offset]);
  });
}

struct UnaryCase {
  const char* name;
  Tensor (*op)(const Tensor&);
  double (*reference)(double);
  bool positive = false;  // defined for positive arguments only
};

const UnaryCase kUnary[] = {
    {"neg", neg, [](double x) { return -x; }},
    {"abs", abs, [](double x) { return std::abs(x); }},
    {"exp", exp, [](double x) { return std::exp(x); }},
    {"log", log, [](double x) { return std::log(x); }, true},
    {"sqrt", sqrt, [](double x) { return std::sqrt(x); }, true},
    {"tanh", tanh, [](double x) { return std::tanh(x); }},
    {"erf", erf, [](double x) { return std::erf(x); }},
    {"sigmoid", sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }},
    {"relu", relu, [](double x) { return std::max(x, 0.0); }},
    {"relu6", [](const Tensor& x) { return relu6(4.0 * x); }, [](double x) { return std::clamp(4 * x, 0.0, 6.0); }},
    {"leaky_relu", [](const Tensor& x) { return leaky_relu(x, 0.2); }, [](double x) { return x < 0 ? 0.2 * x : x; }},
    {"gelu", gelu, [](double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }},
    {"silu", silu, [](double x) { return x / (1 + std::exp(-x)); }},
    {"hardsigmoid", [](const Tensor& x) { return hardsigmoid(3.0 * x); },
     [](double x) { return std::clamp(3 * x + 3, 0.0, 6.0) / 6; }},
    {"hardswish", [](const Tensor& x) { return hardswish(3.0 * x); },
     [](double x) { return 3 * x * std::clamp(3 * x + 3, 0.0, 6.0) / 6; }},
    {"clamp", [](const Tensor& x) { return clamp(x, -0.5, 0.75); }, [](double x) { return std::clamp(x, -0.5, 0.75); }},
    {"pow 0", [](const Tensor& x) { return pow(x, 0.0); }, [](double) { return 1.0; }},
    {"pow 2", [](const Tensor& x) { return pow(x, 2.0); }, [](double x) { return x * x; }},
    {"pow 3", [](const Tensor& x) { return pow(x, 3.0); }, [](double x) { return x * x * x; }},
    {"pow -1.5", [](const Tensor& x) { return pow(x, -1.5); }, [](double x) { return std::pow(x, -1.5); }, true},
};

struct BinaryCase {
  const char* name;
  Tensor (*op)(const Tensor&, const Tensor&);
  double (*reference)(double, double);
  bool positive = false;  // of positive arguments only
};

const BinaryCase kBinary[] = {
    {"add", add, [](double a, double b) { return a + b; }},
    {"sub", sub, [](double a, double b) { return a - b; }},
    {"mul", mul, [](double a, double b) { return a * b; }},
    {"div", div, [](double a, double b) { return a / b; }, true},
    {"pow", pow, [](double a, double b) { return std::pow(a, b); }, true},
    {"maximum", maximum, [](double a, double b) { return std::max(a, b); }},
    {"minimum", minimum, [](double a, double b) { return std::min(a, b); }},
    {"add_relu", add_relu, [](double a, double b) { return std::max(a + b, 0.0); }},
};

double away_from_zero(double x) { return std::abs(x) + 0.25; }

TEST(Elementwise, UnaryOpsMatchTheirFormulas) {
  Generator generator(1);
  for (const UnaryCase& c : kUnary) {
    for (const Shape& shape : kShapes) {
      for (NDArray x : randn_layouts(shape, generator)) {
        if (c.positive) transform(x, away_from_zero);
        const NDArray y = c.op(x).data(), y32 = c.op(x.to(DType::float32)).data();
        ASSERT_EQ(y.shape(), shape);
        ASSERT_EQ(y32.dtype(), DType::float32);
        for_each_index(shape, [&](const Shape& i) {
          const double expected = c.reference(at(x, i));
          EXPECT_NEAR(at(y, i), expected, 1e-14 * (1 + std::abs(expected))) << c.name << " of " << at(x, i);
          EXPECT_NEAR(at(y32, i), expected, 2e-6 * (1 + std::abs(expected))) << c.name << " of " << at(x, i);
        });
      }
    }
  }
}

TEST(Elementwise, UnaryGradientsMatchDifferences) {
  Generator generator(2);
  for (const UnaryCase& c : kUnary) {
    SCOPED_TRACE(c.name);
    for (const Shape& shape : kShapes) {
      for (NDArray x : randn_layouts(shape, generator)) {
        if (c.positive) transform(x, away_from_zero);
        check_gradients([&](const std::vector<Tensor>& in) { return c.op(in[0]); }, {x});
      }
    }
  }
}

TEST(Elementwise, BinaryOpsMatchTheirFormulasAndBroadcast) {
  Generator generator(3);
  for (const BinaryCase& c : kBinary) {
    for (const auto& [shape_a, shape_b] : kBroadcasts) {
      for (NDArray a : randn_layouts(shape_a, generator)) {
        for (NDArray b : randn_layouts(shape_b, generator)) {
          if (c.positive) transform(a, away_from_zero), transform(b, away_from_zero);
          const NDArray y = c.op(a, b).data(), y32 = c.op(a.to(DType::float32), b.to(DType::float32)).data();
          const NDArray wide_a = a.broadcast_to(y.shape()), wide_b = b.broadcast_to(y.shape());
          ASSERT_EQ(y.shape(), broadcast_shapes(shape_a, shape_b, "test"));
          for_each_index(y.shape(), [&](const Shape& i) {
            const double expected = c.reference(at(wide_a, i), at(wide_b, i));
            EXPECT_NEAR(at(y, i), expected, 1e-14 * (1 + std::abs(expected))) << c.name;
            EXPECT_NEAR(at(y32, i), expected, 2e-6 * (1 + std::abs(expected))) << c.name;
          });
        }
      }
    }
  }
}

TEST(Elementwise, BinaryGradientsMatchDifferences) {
  Generator generator(4);
  for (const BinaryCase& c : kBinary) {
    SCOPED_TRACE(c.name);
    for (const auto& [shape_a, shape_b] : kBroadcasts) {
      const auto layouts_a = randn_layouts(shape_a, generator), layouts_b = randn_layouts(shape_b, generator);
      for (size_t layout : {0, 1}) {
        NDArray a = layouts_a[layout], b = layouts_b[1 - layout];
        if (c.positive) transform(a, away_from_zero), transform(b, away_from_zero);
        check_gradients([&](const std::vector<Tensor>& in) { return c.op(in[0], in[1]); }, {a, b});
      }
    }
  }
}

TEST(Elementwise, GradientOfAnOpOnTheSameTensorTwice) {
  Generator generator(5);
  const NDArray x = randn({2, 3}, generator, DType::float64);
  check_gradients([](const std::vector<Tensor>& in) { return in[0] * in[0] + in[0] / in[0] - in[0]; }, {x});
  const Tensor same(x, true);
  maximum(same, same).backward(NDArray::ones(x.shape(), DType::float64));
  EXPECT_EQ(same.grad().data().to_vector<double>(), std::vector<double>(6, 1.0));
}

TEST(Elementwise, AddReluIsAddAndReluBitForBit) {
  Generator generator(12);
  for (DType dtype : {DType::float32, DType::float64}) {
    for (const auto& [shape_a, shape_b] : kBroadcasts) {
      const Tensor a(randn_view(shape_a, generator, dtype), true), b(randn_view(shape_b, generator, dtype), true);
      const Tensor fused = add_relu(a, b), plain = relu(a + b);
      EXPECT_EQ(fused.data().to_vector<double>(), plain.data().to_vector<double>());
      const Tensor g = randn_view(plain.shape(), generator, dtype);
      const auto got = grad(fused, {a, b}, g), expected = grad(plain, {a, b}, g);
      for (size_t i : {0, 1}) EXPECT_EQ(got[i].data().to_vector<double>(), expected[i].data().to_vector<double>());
    }
  }
}

TEST(Elementwise, NumbersTakeTheTensorsDtype) {
  for (DType dtype : {DType::float32, DType::float64}) {
    const Tensor x = NDArray::from_vector<float>({1, 2, 4}).to(dtype);
    const std::pair<Tensor, std::vector<double>> cases[] = {
        {x + 1.0, {2, 3, 5}},   {x - 1.0, {0, 1, 3}},   {x * 2.0, {2, 4, 8}},
        {x / 2.0, {0.5, 1, 2}}, {1.0 + x, {2, 3, 5}},   {1.0 - x, {0, -1, -3}},
        {2.0 * x, {2, 4, 8}},   {2.0 / x, {2, 1, 0.5}}, {-x, {-1, -2, -4}},
    };
    for (const auto& [got, expected] : cases) {
      EXPECT_EQ(got.dtype(), dtype);
      EXPECT_EQ(got.data().to_vector<double>(), expected);
    }
  }
}

TEST(Elementwise, PowKeepsItsSecondDerivativeFiniteAtBaseZero) {
  const Tensor base(NDArray::from_vector<double>({0, 0, 3}), true),
      exponent(NDArray::from_vector<double>({2, 3, 2}), true);
  const Tensor ones = NDArray::ones({3}, DType::float64);
  const Tensor first = grad(pow(base, exponent), {base}, ones, {.create_graph = true})[0];
  const auto second = grad(first, {base, exponent}, ones);
  EXPECT_EQ(second[0].data().to_vector<double>(), (std::vector<double>{2, 0, 2}));
  EXPECT_EQ(second[1].data().to_vector<double>()[0], 0);
  EXPECT_EQ(second[1].data().to_vector<double>()[1], 0);
}

TEST(Elementwise, WhereChoosesAndSendsGradientsWhereItChose) {
  Generator generator(6);
  const std::pair<Shape, std::pair<Shape, Shape>> cases[] = {
      {{}, {{}, {}}},          {{2, 3}, {{2, 3}, {2, 3}}}, {{3}, {{2, 3}, {}}},
      {{2, 1}, {{3}, {1, 3}}}, {{0}, {{1}, {0}}},          {{2, 3, 1}, {{4}, {2, 1, 1}}},
  };
  for (const auto& [shape_c, shapes] : cases) {
    const NDArray noise = randn_view(shape_c, generator);
    const Tensor condition = greater(noise, Tensor::scalar(0, DType::float64));
    const NDArray a = randn_view(shapes.first, generator), b = randn_view(shapes.second, generator);
    const NDArray y = where(condition, a, b).data();
    const NDArray c = noise.broadcast_to(y.shape()), wa = a.broadcast_to(y.shape()), wb = b.broadcast_to(y.shape());
    for_each_index(y.shape(), [&](const Shape& i) { EXPECT_EQ(at(y, i), at(c, i) > 0 ? at(wa, i) : at(wb, i)); });
    check_gradients([&](const std::vector<Tensor>& in) { return where(condition, in[0], in[1]); }, {a, b});
  }
}

TEST(Elementwise, WhereTakesAnyNonZeroConditionAndStridedOnes) {
  const NDArray stored = NDArray::from_vector<uint8_t>({0, 9, 255, 9, 0, 9, 1, 9}, {8});
  const NDArray a = NDArray::ones({4}), b = NDArray::zeros({4});
  EXPECT_EQ(where(stored.slice(0, 0, 8, 2), a, b).data().to_vector<float>(), (std::vector<float>{0, 1, 0, 1}));
}

TEST(Elementwise, ComparisonsAreFalseForNaNAndOutsideOfTheGraph) {
  const Tensor a(NDArray::from_vector<double>({1, 2, 2, kNaN, kNaN, kInf, 0.0}), true);
  const Tensor b(NDArray::from_vector<double>({2, 1, 2, 1, kNaN, kInf, -0.0}));
  using Bytes = std::vector<uint8_t>;
  EXPECT_EQ(greater(a, b).data().to_vector<uint8_t>(), (Bytes{0, 1, 0, 0, 0, 0, 0}));
  EXPECT_EQ(greater_equal(a, b).data().to_vector<uint8_t>(), (Bytes{0, 1, 1, 0, 0, 1, 1}));
  EXPECT_EQ(equal(a, b).data().to_vector<uint8_t>(), (Bytes{0, 0, 1, 0, 0, 1, 1}));
  EXPECT_FALSE(greater(a, b).requires_grad());
  EXPECT_TRUE(grad_enabled());
}

TEST(Elementwise, ComparisonsBroadcastStridedViews) {
  Generator generator(7);
  for (const auto& [shape_a, shape_b] : kBroadcasts) {
    const NDArray a = randn_view(shape_a, generator), b = randn_view(shape_b, generator);
    const NDArray y = greater(a, b).data();
    const NDArray wa = a.broadcast_to(y.shape()), wb = b.broadcast_to(y.shape());
    for_each_index(y.shape(), [&](const Shape& i) { EXPECT_EQ(at(y, i), at(wa, i) > at(wb, i)); });
  }
}

TEST(Elementwise, NaNComesThroughClampsAndRectifiers) {
  const Tensor x = NDArray::from_vector<float>({static_cast<float>(kNaN)});
  for (const Tensor& y :
       {relu(x), relu6(x), leaky_relu(x), clamp(x, 0, 1), abs(x), neg(x), exp(x), tanh(x), sigmoid(x), gelu(x), silu(x),
        maximum(x, Tensor::scalar(1)), minimum(Tensor::scalar(1), x), add_relu(x, Tensor::scalar(1))})
    EXPECT_TRUE(std::isnan(y.item<float>()));
}

TEST(Elementwise, NegativeZeroKeepsItsSignWherePyTorchKeepsIt) {
  const Tensor zero = NDArray::from_vector<double>({-0.0});
  for (const Tensor& y :
       {relu(zero), relu6(zero), leaky_relu(zero), clamp(zero, -1, 1), gelu(zero), silu(zero), tanh(zero), sqrt(zero)})
    EXPECT_TRUE(y.item<double>() == 0 && std::signbit(y.item<double>()));
  EXPECT_FALSE(std::signbit(abs(zero).item<double>()));
  EXPECT_FALSE(std::signbit(neg(zero).item<double>()));
}

TEST(Elementwise, ResultsOfChannelsLastImagesAreChannelsLast) {
  Generator rng(41);
  const NDArray image = randn({2, 4, 5, 3}, rng, DType::float64).permute({0, 3, 1, 2});
  const NDArray other = randn({2, 4, 5, 3}, rng, DType::float64).permute({0, 3, 1, 2});
  const NDArray bias = randn({3, 1, 1}, rng, DType::float64), row_major = image.clone();
  const NDArray repeated = randn({2, 3, 1, 1}, rng, DType::float64).broadcast_to(image.shape());
  Tensor x(image, true);
  const Tensor results[] = {relu(x),
                            x + other,
                            x + bias,
                            Tensor(bias) * x,
                            x * 2.0,
                            Tensor(repeated) + x,
                            where(greater(x, other), x, other)};
  const Tensor expected[] = {relu(row_major),
                             Tensor(row_major) + other.clone(),
                             Tensor(row_major) + bias,
                             Tensor(bias) * row_major,
                             Tensor(row_major) * 2.0,
                             Tensor(repeated.clone()) + row_major,
                             maximum(row_major, other.clone())};
  for (size_t i = 0; i < std::size(results); ++i) {
    EXPECT_EQ(results[i].data().strides(), image.strides()) << i;
    EXPECT_EQ(results[i].data().to_vector<double>(), expected[i].data().to_vector<double>()) << i;
  }
  EXPECT_EQ(grad(relu(x), {x}, other)[0].data().strides(), image.strides());
  EXPECT_EQ(grad(relu(x), {x}, repeated)[0].data().strides(), image.strides());
  EXPECT_TRUE((Tensor(row_major) + image).data().is_contiguous());
}

TEST(Elementwise, MessagesNameTheOpAndWhatItGot) {
  const Tensor f32 = NDArray::ones({2}), f64 = NDArray::ones({2}, DType::float64);
  const Tensor f16 = NDArray::ones({2}, DType::float16), three = NDArray::ones({3});
  EXPECT_THAT([&] { add(f32, f64); }, ThrowsMessage<DTypeError>("add: dtypes float32 and float64 differ"));
  EXPECT_THAT([&] { mul(f16, f16); },
              ThrowsMessage<DTypeError>(
                  "mul: expects float32 or float64, got float16, a storage type; convert it with NDArray::to()"));
  EXPECT_THAT([&] { relu(f16); },
              ThrowsMessage<DTypeError>(HasSubstr("relu: expects float32 or float64, got float16")));
  EXPECT_THAT([&] { greater(f16, f16); }, ThrowsMessage<DTypeError>(HasSubstr("greater: expects float32")));
  EXPECT_THAT([&] { sub(f32, three); },
              ThrowsMessage<ShapeError>("sub: shapes [2] and [3] cannot be broadcast together"));
  EXPECT_THAT([&] { where(f32, f32, f32); },
              ThrowsMessage<DTypeError>("where: expects a uint8 or bool condition, got float32"));
  EXPECT_THAT([&] { where(greater(f32, f32), f32, f64); }, ThrowsMessage<DTypeError>(HasSubstr("where: dtypes")));
  EXPECT_THAT([&] { where(greater(f32, f32), f32, three); }, ThrowsMessage<ShapeError>(HasSubstr("where: shapes")));
  EXPECT_THAT([&] { clamp(f32, 2, 1); }, ThrowsMessage<ValueError>("clamp: min 2 is not below max 1"));
  EXPECT_THAT([&] { clamp(f32, kNaN, 1); }, ThrowsMessage<ValueError>(HasSubstr("clamp: min nan")));
  EXPECT_THAT([&] { exp(Tensor()); }, ThrowsMessage<ValueError>("exp: input 0 is undefined"));
  EXPECT_THAT([&] { apply(make_op("add", {}), {f32}); }, ThrowsMessage<ValueError>("add: takes 2 inputs, got 1"));
  EXPECT_THAT([&] { apply(make_op("relu", {}), {}); }, ThrowsMessage<ValueError>("relu: takes 1 inputs, got 0"));
  EXPECT_THROW(make_op("leaky_relu", {}), FormatError);
  EXPECT_THROW(make_op("clamp", {{"min", 2.0}, {"max", 1.0}}), FormatError);
  EXPECT_THROW(make_op("pow", {{"exponent", std::string("two")}}), FormatError);
}

TEST(Elementwise, InputsThatNeedNoGradientGetNone) {
  const Tensor a(NDArray::ones({2}), true), b(NDArray::ones({2}));
  for (const char* op : {"add", "sub", "mul", "div", "pow", "maximum", "minimum", "add_relu"}) {
    const Tensor inputs[] = {a, b};
    const auto gradients = make_op(op, {})->gradient(b, inputs, b);
    ASSERT_EQ(gradients.size(), 2u) << op;
    EXPECT_TRUE(gradients[0].defined()) << op;
    EXPECT_FALSE(gradients[1].defined()) << op;
  }
}

/// Rebuilds every op it sees from name and attributes, and applies it again.
class Rebuild : public ApplyListener {
 public:
  void on_apply(const Op& op, std::span<const Tensor> inputs, const Tensor& output) override {
    names.insert(std::string(op.name()));
    const auto again = make_op(op.name(), op.attributes());
    EXPECT_EQ(again->name(), op.name());
    EXPECT_EQ(again->attributes(), op.attributes()) << op.name();
    std::vector<NDArray> arrays;
    for (const Tensor& input : inputs) arrays.push_back(input.data());
    EXPECT_EQ(again->compute(arrays).to_vector<double>(), output.data().to_vector<double>()) << op.name();
  }
  std::set<std::string> names;
};

TEST(Elementwise, EveryOpIsRebuiltFromNameAndAttributes) {
  Generator generator(8);
  NDArray positive = rand({5}, generator, DType::float64);
  const Tensor a = positive, b = randn({5}, generator, DType::float64);
  Rebuild rebuild;
  ApplyListener* before = set_apply_listener(&rebuild);
  for (const BinaryCase& c : kBinary) c.op(a, b);
  for (const UnaryCase& c : kUnary) c.op(a);
  clamp(b);
  clamp(b, -0.5);
  clamp(b, -kInf, 0.5);
  leaky_relu(b);
  hardsigmoid(b);
  hardswish(b);
  where(greater(a, b), a, b);
  where(greater_equal(a, b), a, b);
  where(equal(a, b), a, b);
  for (const char* op : {"abs_backward", "threshold_backward", "tanh_backward", "sigmoid_backward", "gelu_backward",
                         "silu_backward", "hardswish_backward"})
    apply(make_op(op, {}), {a, b});
  apply(make_op("leaky_relu_backward", {{"negative_slope", 0.3}}), {b, a});
  apply(make_op("hardtanh_backward", {{"min_val", -0.5}, {"max_val", 0.5}}), {b, a});
  apply(make_op("clamp_backward", {{"min", -0.5}, {"max", 0.5}}), {b, a});
  set_apply_listener(before);
  for (const char* op : {"add",   "sub",        "mul",           "div",   "pow",      "neg",         "abs",
                         "exp",   "log",        "sqrt",          "tanh",  "erf",      "sigmoid",     "relu",
                         "relu6", "leaky_relu", "gelu",          "silu",  "maximum",  "minimum",     "where",
                         "clamp", "greater",    "greater_equal", "equal", "add_relu", "hardsigmoid", "hardswish"})
    EXPECT_TRUE(rebuild.names.contains(op)) << op;
}

// The kernels, on each instruction set.

class ElementwiseKernels : public testing::Test {
 protected:
  ~ElementwiseKernels() override {
    set_isa(isa_);
    set_num_threads(threads_);
  }

 private:
  Isa isa_ = active_isa();
  int threads_ = num_threads();
};

template <typename T>
void expect_same_bits(const NDArray& got, const NDArray& expected, const std::string& what) {
  const T *g = got.data<T>(), *e = expected.data<T>();
  for (int64_t i = 0; i < expected.numel(); ++i) {
    if (g[i] != g[i] && e[i] != e[i]) continue;  // which NaN comes out is left to the processor
    ASSERT_EQ(std::memcmp(g + i, e + i, sizeof(T)), 0) << what << " at " << i << ": " << g[i] << ", expected " << e[i];
  }
}

/// Random numbers of all magnitudes, and special ones.
NDArray hard_numbers(int64_t n, DType dtype, Generator& generator) {
  NDArray x = randn({n}, generator, DType::float64);
  double* p = x.data<double>();
  const double special[] = {0.0, -0.0, kInf, -kInf, kNaN, 1.0, -1.0, 6.0, 1e-40, -1e-310, 90.0, -90.0, 1e30};
  for (int64_t i = 0; i < n; ++i) {
    if (i % 3 == 1) p[i] *= 20;
    if (i % 5 == 2) p[i] = special[generator.below(std::size(special))];
  }
  return x.to(dtype);
}

/// Runs a kernel on every instruction set and compares with the scalar one.
void expect_isas_agree(NDArray& out, const std::string& what, const std::function<void(NDArray&)>& kernel) {
  set_isa(Isa::scalar);
  kernel(out);
  const NDArray expected = out.clone();
  for (Isa isa : available_isas()) {
    set_isa(isa);
    out.fill(77);
    kernel(out);
    dispatch(out.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      if constexpr (!is_16_bit_float<T>) expect_same_bits<T>(out, expected, str(what, " on ", name(isa)));
    });
  }
}

TEST_F(ElementwiseKernels, GiveTheSameBitsOnEveryInstructionSet) {
  Generator generator(9);
  for (DType dtype : {DType::float32, DType::float64}) {
    for (int64_t n : {1, 7, 16, 33, 500}) {
      const NDArray dense = hard_numbers(n, dtype, generator), other = hard_numbers(n, dtype, generator);
      const NDArray strided = hard_numbers(2 * n, dtype, generator).slice(0, 2 * n - 1, 0, -2).slice(0, 0, n);
      const NDArray scalar = hard_numbers(3, dtype, generator).slice(0, 2, 3).squeeze(0);
      const std::pair<NDArray, NDArray> operands[] = {
          {dense, other}, {dense, scalar}, {scalar, dense}, {strided, dense}, {scalar, scalar}};
      for (const auto& [a, b] : operands) {
        const Shape shape = broadcast_shapes(a.shape(), b.shape(), "test");
        NDArray out(shape, dtype), bytes(shape, DType::uint8);
        for (int f = 0; f < static_cast<int>(kernels::Unary::count); ++f) {
          NDArray own(a.shape(), dtype);
          expect_isas_agree(own, str("unary ", f),
                            [&, x = a](NDArray& y) { kernels::unary(static_cast<kernels::Unary>(f), x, y, 0.3, 1.5); });
        }
        for (int f = 0; f < static_cast<int>(kernels::Binary::count); ++f)
          expect_isas_agree(out, str("binary ", f), [&, x = a, z = b](NDArray& y) {
            kernels::binary(static_cast<kernels::Binary>(f), x, z, y, 0.3, 1.5);
          });
        for (int f = 0; f < static_cast<int>(kernels::Compare::count); ++f)
          expect_isas_agree(bytes, str("compare ", f), [&, x = a, z = b](NDArray& y) {
            kernels::compare(static_cast<kernels::Compare>(f), x, z, y);
          });
        expect_isas_agree(out, "where", [&, x = a, z = b](NDArray& y) { kernels::where(bytes, x, z, y); });
      }
    }
  }
}

TEST_F(ElementwiseKernels, GiveTheSameBitsOnAnyNumberOfThreads) {
  Generator generator(10);
  const NDArray a = hard_numbers(300 * 1000, DType::float32, generator).reshape({300, 1000});
  const NDArray b = hard_numbers(1000, DType::float32, generator);
  for (const NDArray& x : {a, a.transpose(0, 1)}) {
    const NDArray row = x.shape(1) == 1000 ? b : b.reshape({1000, 1});
    NDArray one(x.shape()), many(x.shape());
    set_num_threads(1);
    kernels::binary(kernels::Binary::sub, x, row, one);
    for (int threads : {2, 5}) {
      set_num_threads(threads);
      many.fill(77);
      kernels::binary(kernels::Binary::sub, x, row, many);
      expect_same_bits<float>(many, one, str(threads, " threads"));
    }
  }
}

}  // namespace
}  // namespace thimble
