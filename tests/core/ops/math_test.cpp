#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/special_values.h"
#include "tests/core/views.h"
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/logic.h>
#include <thimble/core/ops/math.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

struct MathCase {
  const char* name;
  Tensor (*op)(const Tensor&);
  double (*reference)(double);
  double low = -3, high = 3;  // arguments that it is asked
};

double softplus_reference(double x) { return std::log(1 + std::exp(x)); }

const MathCase kMathCases[] = {
    {"sin", sin, std::sin},
    {"cos", cos, std::cos},
    {"tan", tan, std::tan, -1.2, 1.2},
    {"asin", asin, std::asin, -0.9, 0.9},
    {"acos", acos, std::acos, -0.9, 0.9},
    {"atan", atan, std::atan},
    {"sinh", sinh, std::sinh},
    {"cosh", cosh, std::cosh},
    {"asinh", asinh, std::asinh},
    {"acosh", acosh, std::acosh, 1.2, 4},
    {"atanh", atanh, std::atanh, -0.9, 0.9},
    {"log1p", log1p, std::log1p, -0.8, 3},
    {"expm1", expm1, std::expm1},
    {"log2", log2, std::log2, 0.2, 3},
    {"log10", log10, std::log10, 0.2, 3},
    {"square", square, [](double x) { return x * x; }},
    {"reciprocal", reciprocal, [](double x) { return 1 / x; }, 0.3, 3},
    {"rsqrt", rsqrt, [](double x) { return 1 / std::sqrt(x); }, 0.3, 3},
    {"ceil", ceil, std::ceil},
    {"floor", floor, std::floor},
    {"round", round, std::nearbyint},
    {"sign", sign, [](double x) { return x > 0 ? 1.0 : -1.0; }},
    {"softplus", [](const Tensor& x) { return softplus(x); }, softplus_reference},
    {"softplus 2", [](const Tensor& x) { return softplus(x, 2, 3); },
     [](double x) { return 2 * x > 3 ? x : softplus_reference(2 * x) / 2; }, -3, 1.4},
    {"softsign", softsign, [](double x) { return x / (1 + std::abs(x)); }},
    {"elu", [](const Tensor& x) { return elu(x, 0.7); }, [](double x) { return x > 0 ? x : 0.7 * std::expm1(x); }},
    {"selu", [](const Tensor& x) { return selu(x); },
     [](double x) { return 1.0507009873554804934 * (x > 0 ? x : 1.6732632423543772848 * std::expm1(x)); }},
    {"celu", [](const Tensor& x) { return celu(x, 2); }, [](double x) { return x > 0 ? x : 2 * std::expm1(x / 2); }},
    {"mish", mish, [](double x) { return x * std::tanh(softplus_reference(x)); }},
    {"gelu_tanh", gelu_tanh,
     [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }},
    {"threshold", [](const Tensor& x) { return threshold(x, 0.5, -2); }, [](double x) { return x > 0.5 ? x : -2; }},
    {"hardshrink", [](const Tensor& x) { return hardshrink(x, 0.6); },
     [](double x) { return std::abs(x) > 0.6 ? x : 0.0; }},
    {"softshrink", [](const Tensor& x) { return softshrink(x, 0.6); },
     [](double x) { return x > 0.6    ? x - 0.6
                           : x < -0.6 ? x + 0.6
                                      : 0.0; }},
};

// Of any layout, away from where functions have corners.
NDArray arguments(const MathCase& c, const NDArray& layout) {
  NDArray x = layout;
  for_each_index(x.shape(), [&](const Shape& index) {
    int64_t offset = 0;
    for (int d = 0; d < x.ndim(); ++d) offset += index[d] * x.strides()[d];
    double& value = x.data<double>()[offset];
    value = c.low + (c.high - c.low) * (0.5 + 0.5 * std::tanh(value));
    for (const double corner : {-2.0, -1.5, -1.0, -0.6, -0.5, 0.0, 0.5, 0.6, 1.0, 1.5, 2.0})
      if (std::abs(value - corner) < 1e-3) value += 2e-3;
  });
  return x;
}

TEST(MathOps, MatchTheirFormulasAndDifferences) {
  Generator generator(1);
  for (const MathCase& c : kMathCases) {
    SCOPED_TRACE(c.name);
    for (const Shape& shape : {Shape{}, Shape{0}, Shape{7}, Shape{2, 1, 3}}) {
      for (const NDArray& layout : randn_layouts(shape, generator)) {
        const NDArray x = arguments(c, layout), y = c.op(x).data(), y32 = c.op(x.to(DType::float32)).data();
        for_each_index(shape, [&](const Shape& i) {
          const double expected = c.reference(at(x, i));
          EXPECT_NEAR(at(y, i), expected, 1e-13 * (1 + std::abs(expected)));
          EXPECT_NEAR(at(y32, i), c.reference(at(x.to(DType::float32), i)), 1e-6 * (1 + std::abs(expected)));
        });
        check_gradients([&](const auto& t) { return c.op(t[0]); }, {x});
      }
    }
  }
}

TEST(MathOps, LetNaNThroughAndDoNotOverflow) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const MathCase& c : kMathCases) EXPECT_TRUE(std::isnan(c.op(Tensor::scalar(nan)).item<float>())) << c.name;
  for (Tensor (*f)(const Tensor&) :
       {+[](const Tensor& x) { return softplus(x); }, +[](const Tensor& x) { return elu(x); }, mish}) {
    const Tensor x(NDArray::from_vector<float>({-1000, 1000}), true);
    const Tensor y = f(x);
    EXPECT_FLOAT_EQ(y.data().to_vector<float>()[1], 1000);
    y.backward(NDArray::ones({2}));
    EXPECT_EQ(x.grad().data().to_vector<float>(), (std::vector<float>{0, 1}));
  }
}

// Each side of softplus's threshold has a gradient of its own; celu's alpha may be negative.
TEST(MathOps, GradientsAreThoseOfTheBranchThatWasTaken) {
  const NDArray x = NDArray::from_vector<double>({-2.5, -0.7, 1.2, 1.8, 30});
  check_gradients([](const auto& t) { return softplus(t[0], 2, 3); }, {x});
  check_gradients([](const auto& t) { return celu(t[0], -0.7); }, {x});
}

TEST(MathOps, PreluHasASlopeForEachChannelOrOne) {
  Generator generator(2);
  const NDArray x = randn({2, 3, 4}, generator, DType::float64), slopes = randn({3}, generator, DType::float64);
  const NDArray y = prelu(x, slopes).data();
  for_each_index(x.shape(),
                 [&](const Shape& i) { EXPECT_EQ(at(y, i), at(x, i) > 0 ? at(x, i) : at(x, i) * at(slopes, {i[1]})); });
  check_gradients([](const auto& t) { return prelu(t[0], t[1]); }, {x, slopes});
  check_gradients([](const auto& t) { return prelu(t[0], t[1]); }, {x, slopes.slice(0, 0, 1)});
  EXPECT_THROW(prelu(x, NDArray::ones({2}, DType::float64)), ShapeError);
}

TEST(MathOps, RemaindersHaveTheSignOfTheDivisorOrTheDividend) {
  const std::vector<int> a{-7, -7, 7, 7, 6}, b{3, -3, 3, -3, -3};
  const std::vector<int> floored{2, -1, 1, -2, 0}, truncated{-1, -1, 1, 1, 0};
  for (DType dtype : {DType::float32, DType::float64, DType::int8, DType::int32, DType::int64}) {
    const NDArray x = NDArray::from_vector(a).to(dtype), y = NDArray::from_vector(b).to(dtype);
    EXPECT_EQ(remainder(x, y).data().to_vector<int>(), floored) << dtype;
    EXPECT_EQ(fmod(x, y).data().to_vector<int>(), truncated) << dtype;
  }
  constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
  EXPECT_EQ(remainder(NDArray::from_vector<int64_t>({kLeast}), NDArray::from_vector<int64_t>({-1})).item<int64_t>(), 0);
  EXPECT_THROW(remainder(NDArray::ones({1}, DType::uint8), NDArray::zeros({1}, DType::uint8)), ValueError);
  Generator generator(3);
  const NDArray x = randn({2, 3}, generator, DType::float64),
                y = add(abs(randn({3}, generator, DType::float64)), Tensor::scalar(1, DType::float64)).data();
  check_gradients([](const auto& t) { return remainder(t[0], t[1]); }, {x, y});
  check_gradients([](const auto& t) { return fmod(t[0], t[1]); }, {x, y});
}

template <typename T>
std::vector<T> of(Tensor (*op)(const Tensor&, const Tensor&), const std::vector<T>& a, const std::vector<T>& b) {
  const NDArray result = op(NDArray::from_vector(a), NDArray::from_vector(b)).data();
  EXPECT_EQ(result.dtype(), dtype_of<T>);
  return result.to_vector<T>();
}

TEST(IntegerArithmetic, IsExactModuloTheWidthOfEachDtype) {
  using U8 = std::vector<uint8_t>;
  using I8 = std::vector<int8_t>;
  using U64 = std::vector<uint64_t>;
  EXPECT_EQ(of<uint8_t>(add, {250, 7}, {10, 1}), (U8{4, 8}));
  EXPECT_EQ(of<uint8_t>(sub, {3}, {5}), (U8{254}));
  EXPECT_EQ(of<int8_t>(mul, {100, -3}, {3, 3}), (I8{44, -9}));
  EXPECT_EQ(of<int8_t>(div, {-128, -7, 7}, {-1, 2, -2}), (I8{-128, -3, -3}));
  EXPECT_EQ(of<uint64_t>(div, {~uint64_t{0}}, {2}), (U64{~uint64_t{0} / 2}));
  EXPECT_EQ(of<uint64_t>(maximum, {~uint64_t{0}, 1}, {2, 3}), (U64{~uint64_t{0}, 3}));
  EXPECT_EQ(of<int8_t>(minimum, {-5, 4}, {2, 3}), (I8{-5, 3}));
  EXPECT_EQ(neg(NDArray::from_vector<int8_t>({-128, 5})).data().to_vector<int8_t>(), (I8{-128, -5}));
  EXPECT_EQ(abs(NDArray::from_vector<int8_t>({-127, 5})).data().to_vector<int8_t>(), (I8{127, 5}));
  EXPECT_EQ(abs(NDArray::from_vector<uint8_t>({200})).data().to_vector<uint8_t>(), (U8{200}));
  EXPECT_EQ(relu(NDArray::from_vector<int8_t>({-127, 5})).data().to_vector<int8_t>(), (I8{0, 5}));
  EXPECT_EQ(sign(NDArray::from_vector<int8_t>({-127, 0, 5})).data().to_vector<int8_t>(), (I8{-1, 0, 1}));
  EXPECT_EQ(sign(NDArray::from_vector<uint8_t>({0, 200})).data().to_vector<uint8_t>(), (U8{0, 1}));
  EXPECT_THAT([] { add(NDArray::ones({1}, DType::int8), NDArray::ones({1}, DType::int16)); },
              ThrowsMessage<DTypeError>(HasSubstr("add: ")));
}

TEST(IntegerArithmetic, PowersKeepTheBasesDtype) {
  using I64 = std::vector<int64_t>;
  EXPECT_EQ(of<int64_t>(pow, {3, -2, 2, -1, -1, 1, 0}, {39, 3, -1, -3, -4, -9, 0}),
            (I64{4052555153018976267, -8, 0, -1, 1, 1, 1}));
  EXPECT_THROW(pow(NDArray::zeros({1}, DType::int64), NDArray::full({1}, -1, DType::int64)), ValueError);
  // The exponents are of a dtype that the base's cannot hold.
  EXPECT_EQ(pow(NDArray::from_vector<uint8_t>({2, 3, 3, 3}), NDArray::from_vector<int64_t>({256, 257, -1, -255}))
                .data()
                .to_vector<uint8_t>(),
            (std::vector<uint8_t>{0, 3, 0, 0}));
  EXPECT_EQ(pow(NDArray::full({}, -1, DType::int8), NDArray::full({}, 128, DType::uint64)).item<int8_t>(), 1);
  const NDArray integers = NDArray::from_vector<int32_t>({2, 5}), halves = NDArray::from_vector<float>({0.5f, 1.5f});
  EXPECT_EQ(pow(integers, halves).data().to_vector<int32_t>(), (std::vector<int32_t>{1, 11}));
  EXPECT_EQ(pow(integers, halves).dtype(), DType::int32);
  EXPECT_EQ(pow(halves, integers).data().to_vector<float>(), (std::vector<float>{0.25f, 7.59375f}));
  EXPECT_EQ(pow(integers, 2.0).data().to_vector<int32_t>(), (std::vector<int32_t>{4, 25}));
  EXPECT_EQ(pow(integers, 0.5).data().to_vector<int32_t>(), (std::vector<int32_t>{1, 2}));
}

TEST(IntegerArithmetic, BitsAreThoseOfTheDtype) {
  using U8 = std::vector<uint8_t>;
  EXPECT_EQ(of<uint8_t>(bitwise_and, {0b1100}, {0b1010}), (U8{0b1000}));
  EXPECT_EQ(of<uint8_t>(bitwise_or, {0b1100}, {0b1010}), (U8{0b1110}));
  EXPECT_EQ(of<uint8_t>(bitwise_xor, {0b1100}, {0b1010}), (U8{0b0110}));
  EXPECT_EQ(of<uint8_t>(bitwise_left_shift, {3, 3, 3}, {1, 7, 200}), (U8{6, 128, 0}));
  EXPECT_EQ(of<uint64_t>(bitwise_right_shift, {~uint64_t{0}, 5}, {63, 64}), (std::vector<uint64_t>{1, 0}));
  EXPECT_EQ(bitwise_not(NDArray::from_vector<uint8_t>({1})).item<int>(), 254);
  EXPECT_EQ(bitwise_not(NDArray::from_vector<int64_t>({5})).item<int64_t>(), -6);
  const NDArray yes = NDArray::from_vector<bool>({true, true, false}),
                no = NDArray::from_vector<bool>({true, false, false});
  EXPECT_EQ(bitwise_xor(yes, no).data().to_vector<bool>(), (std::vector<bool>{false, true, false}));
  EXPECT_EQ(bitwise_not(no).data().to_vector<bool>(), (std::vector<bool>{false, true, true}));
  EXPECT_THROW(bitwise_left_shift(yes, no), DTypeError);
  EXPECT_THROW(bitwise_and(NDArray::ones({1}), NDArray::ones({1})), DTypeError);
}

TEST(Logic, ComparisonsOfIntegersAreExact) {
  constexpr uint64_t kBig = uint64_t{1} << 63;
  const NDArray a = NDArray::from_vector<uint64_t>({kBig, kBig + 1}), b = NDArray::from_vector<uint64_t>({5, kBig});
  using Bools = std::vector<bool>;
  EXPECT_EQ(greater(a, b).data().to_vector<bool>(), (Bools{true, true}));
  EXPECT_EQ(less_equal(a, b).data().to_vector<bool>(), (Bools{false, false}));
  EXPECT_EQ(greater(a, b).dtype(), DType::bool_);
  const NDArray yes = NDArray::from_vector<bool>({true, false});
  EXPECT_EQ(equal(yes, NDArray::zeros({}, DType::bool_)).data().to_vector<bool>(), (Bools{false, true}));
  EXPECT_EQ(less(NDArray::from_vector<int8_t>({-5, 4}), NDArray::from_vector<int8_t>({-4, 4})).data().to_vector<bool>(),
            (Bools{true, false}));
}

TEST(Logic, QuestionsToEachElement) {
  const double inf = std::numeric_limits<double>::infinity();
  const Tensor x = NDArray::from_vector<double>({0, std::nan(""), inf, -inf});
  using Bools = std::vector<bool>;
  EXPECT_EQ(isnan(x).data().to_vector<bool>(), (Bools{false, true, false, false}));
  EXPECT_EQ(isinf(x).data().to_vector<bool>(), (Bools{false, false, true, true}));
  EXPECT_EQ(isinf(x, false).data().to_vector<bool>(), (Bools{false, false, true, false}));
  EXPECT_EQ(isinf(x, true, false).data().to_vector<bool>(), (Bools{false, false, false, true}));
  EXPECT_EQ(logical_not(x).data().to_vector<bool>(), (Bools{true, false, false, false}));
  EXPECT_EQ(isnan(NDArray::ones({1}, DType::int64)).item<bool>(), false);
}

TEST(Elementwise, WhereChoosesOfEveryDtype) {
  const NDArray condition = NDArray::from_vector<bool>({true, false, true});
  for (DType dtype : kAllDTypes) {
    const NDArray a = NDArray::from_vector<int>({1, 1, 0}).to(dtype), b = NDArray::zeros({}, dtype);
    const NDArray y = where(condition, a, b).data();
    EXPECT_EQ(y.dtype(), dtype);
    EXPECT_EQ(y.to_vector<int>(), (std::vector<int>{1, 0, 0})) << dtype;
  }
  const NDArray bits = NDArray::from_vector<uint32_t>({0x7fa00001u, 0, 0xffffffffu});  // a signaling NaN among floats
  EXPECT_EQ(where(condition, bits, bits).data().to_vector<uint32_t>(), bits.to_vector<uint32_t>());
}

TEST(Elementwise, NumbersOfTheOtherFloatTakeTheTensorsDtype) {
  const Tensor number(NDArray::full({}, 3), true), x(NDArray::full({2}, 2, DType::float64), true);
  const Tensor y = x * number;
  EXPECT_EQ(y.dtype(), DType::float64);
  y.backward(NDArray::ones({2}, DType::float64));
  EXPECT_EQ(number.grad().dtype(), DType::float32);
  EXPECT_EQ(number.grad().item<float>(), 4);
  EXPECT_EQ(x.grad().data().to_vector<double>(), (std::vector<double>{3, 3}));
  EXPECT_TRUE(greater(x, number).dtype() == DType::bool_);
}

}  // namespace
}  // namespace thimble
