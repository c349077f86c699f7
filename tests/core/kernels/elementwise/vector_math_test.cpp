// The transcendental functions of float32, against double precision.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <limits>

#include <gtest/gtest.h>

#include <thimble/core/kernels/elementwise/elementwise.h>
#include <thimble/core/platform/isa.h>
#include <thimble/core/random.h>

namespace thimble {
namespace {

using kernels::Binary;
using kernels::Unary;

constexpr float kFloatInfinity = std::numeric_limits<float>::infinity(),
                kFloatNaN = std::numeric_limits<float>::quiet_NaN();

double sigmoid_of(double x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); }
double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }
double normal_pdf(double x) { return std::exp(-0.5 * x * x) / std::sqrt(2 * M_PI); }

struct Function {
  const char* name;
  Unary kernel;
  double (*exact)(double);
  double most_units;  // the stated error, in units in the last place
};
const Function kFunctions[] = {
    {"exp", Unary::exp, [](double x) { return std::exp(x); }, 1},
    {"log", Unary::log, [](double x) { return std::log(x); }, 1},
    {"tanh", Unary::tanh, [](double x) { return std::tanh(x); }, 1.5},
    {"sigmoid", Unary::sigmoid, sigmoid_of, 1.8},
    {"erf", Unary::erf, [](double x) { return std::erf(x); }, 1.5},
    {"silu", Unary::silu, [](double x) { return x * sigmoid_of(x); }, 2},
    {"gelu", Unary::gelu, [](double x) { return x * normal_cdf(x); }, 3.5},
};

bool same(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b)); }

// The distance from the exact value in units of its last place; of 2^128, beyond the last float, infinity is none away.
double units_between(float got, double exact) {
  constexpr double kBeyond = 0x1p128;
  exact = std::clamp(exact, -kBeyond, kBeyond);
  const double value = std::clamp(double{got}, -kBeyond, kBeyond);
  const int exponent = exact == 0 ? -126 : std::clamp(std::ilogb(exact), -126, 127);
  return std::abs(value - exact) / std::ldexp(1.0, exponent - 23);
}

class VectorMath : public testing::Test {
 protected:
  ~VectorMath() override { set_isa(isa_); }

  static std::vector<float> run(Unary kernel, const std::vector<float>& x) {
    const NDArray in = NDArray::from_vector(x);
    NDArray out(in.shape(), DType::float32);
    kernels::unary(kernel, in, out);
    return out.to_vector<float>();
  }

 private:
  const Isa isa_ = active_isa();
};

// Floats from all over, every 14321st. THIMBLE_EXHAUSTIVE=1 in the environment takes each of them, for some hours, and
// prints the largest errors.
TEST_F(VectorMath, IsAsExactAsStatedAndTheSameOnEveryInstructionSet) {
  const bool exhaustive = std::getenv("THIMBLE_EXHAUSTIVE") != nullptr;
  constexpr uint64_t kAll = uint64_t{1} << 32;
  constexpr size_t kBlock = 1 << 16;
  const uint64_t step = exhaustive ? 1 : 14321;
  for (const Function& f : kFunctions) {
    double most = 0;
    float at = 0;
    for (uint64_t first = 0; first < kAll; first += step * kBlock) {
      std::vector<float> x(kBlock);
      for (size_t i = 0; i < kBlock; ++i) {
        const auto bits = static_cast<uint32_t>(first + i * step);
        std::memcpy(&x[i], &bits, sizeof bits);
      }
      set_isa(Isa::scalar);
      const std::vector<float> y = run(f.kernel, x);
      for (Isa isa : available_isas()) {
        if (isa != Isa::avx2 && isa != Isa::avx512) continue;
        set_isa(isa);
        const std::vector<float> other = run(f.kernel, x);
        if (std::memcmp(y.data(), other.data(), kBlock * sizeof(float)) == 0) continue;
        for (size_t i = 0; i < kBlock; ++i)
          ASSERT_TRUE(same(y[i], other[i])) << f.name << " of " << x[i] << ": " << other[i] << " on " << name(isa);
      }
      for (size_t i = 0; i < kBlock; ++i) {
        const double exact = f.exact(x[i]);
        if (std::isnan(exact)) {
          ASSERT_TRUE(std::isnan(y[i])) << f.name << " of " << x[i] << ": " << y[i];
          continue;
        }
        const double units = units_between(y[i], exact);
        ASSERT_LE(units, f.most_units) << f.name << " of " << x[i] << ": " << y[i] << ", not " << exact;
        if (units > most) most = units, at = x[i];
      }
    }
    if (exhaustive) std::cout << f.name << ": " << most << " units at " << at << std::endl;
  }
}

TEST_F(VectorMath, SpecialValuesAreThoseOfTheCLibrary) {
  constexpr float kTiny = 0x1p-149f, kMax = std::numeric_limits<float>::max();
  const struct {
    Unary kernel;
    float x, y;
  } cases[] = {
      {Unary::exp, 0.0f, 1},
      {Unary::exp, -0.0f, 1},
      {Unary::exp, kFloatInfinity, kFloatInfinity},
      {Unary::exp, -kFloatInfinity, 0.0f},
      {Unary::exp, kMax, kFloatInfinity},
      {Unary::exp, -kMax, 0.0f},
      {Unary::exp, 0x1.62e43p6f, kFloatInfinity},
      {Unary::exp, -103.9f, kTiny},
      {Unary::exp, -104.1f, 0.0f},
      {Unary::exp, kTiny, 1},
      {Unary::log, 0.0f, -kFloatInfinity},
      {Unary::log, -0.0f, -kFloatInfinity},
      {Unary::log, -kTiny, kFloatNaN},
      {Unary::log, -kFloatInfinity, kFloatNaN},
      {Unary::log, kFloatInfinity, kFloatInfinity},
      {Unary::log, 1.0f, 0.0f},
      {Unary::tanh, -0.0f, -0.0f},
      {Unary::tanh, 0.0f, 0.0f},
      {Unary::tanh, kFloatInfinity, 1},
      {Unary::tanh, -kFloatInfinity, -1},
      {Unary::tanh, -kTiny, -kTiny},
      {Unary::erf, -0.0f, -0.0f},
      {Unary::erf, kFloatInfinity, 1},
      {Unary::erf, -kFloatInfinity, -1},
      {Unary::erf, kTiny, kTiny},
      {Unary::sigmoid, 0.0f, 0.5f},
      {Unary::sigmoid, -0.0f, 0.5f},
      {Unary::sigmoid, kFloatInfinity, 1},
      {Unary::sigmoid, -kFloatInfinity, 0.0f},
      {Unary::sigmoid, -103.9f, kTiny},
      {Unary::sigmoid, -kMax, 0.0f},
      {Unary::silu, -0.0f, -0.0f},
      {Unary::silu, 0.0f, 0.0f},
      {Unary::silu, kFloatInfinity, kFloatInfinity},
      {Unary::silu, kMax, kMax},
      {Unary::silu, -kMax, -0.0f},
      {Unary::silu, -kFloatInfinity, kFloatNaN},  // as in PyTorch
      {Unary::gelu, -0.0f, -0.0f},
      {Unary::gelu, 0.0f, 0.0f},
      {Unary::gelu, kFloatInfinity, kFloatInfinity},
      {Unary::gelu, kMax, kMax},
      {Unary::gelu, -kMax, -0.0f},
      {Unary::gelu, -kFloatInfinity, kFloatNaN},  // as in PyTorch
  };
  for (Isa isa : available_isas()) {
    set_isa(isa);
    for (const auto& c : cases) {
      const float y = run(c.kernel, {c.x})[0];
      EXPECT_TRUE(same(y, c.y)) << "unary " << static_cast<int>(c.kernel) << " of " << c.x << ": " << y << " on "
                                << name(isa);
    }
    for (const Function& f : kFunctions) EXPECT_TRUE(std::isnan(run(f.kernel, {kFloatNaN})[0])) << f.name;
  }
}

TEST_F(VectorMath, AResultDoesNotDependOnWhereItsArgumentLies) {
  constexpr int64_t kMost = 67;
  Generator generator(1);
  const NDArray wide = randn({kMost, 3}, generator, DType::float32), x = wide.slice(1, 1, 2).squeeze(1);
  const NDArray other = randn({kMost}, generator, DType::float32);
  const auto expect_same = [](const NDArray& y, const std::vector<float>& expected, int64_t first) {
    const std::vector<float> got = y.to_vector<float>();
    for (size_t i = 0; i < got.size(); ++i) ASSERT_TRUE(same(got[i], expected[static_cast<size_t>(first) + i])) << i;
  };
  for (Isa isa : available_isas()) {
    set_isa(isa);
    for (const Function& f : kFunctions) {
      std::vector<float> each;
      for (float value : x.to_vector<float>()) each.push_back(run(f.kernel, {value})[0]);
      for (int64_t first = 0; first < kMost; first += 5)
        for (int64_t last = first + 1; last <= kMost; ++last) {
          NDArray y({last - first}, DType::float32);
          kernels::unary(f.kernel, x.slice(0, first, last), y);
          expect_same(y, each, first);
          kernels::unary(f.kernel, x.contiguous().slice(0, first, last), y);
          expect_same(y, each, first);
        }
    }
    for (Binary f : {Binary::gelu_backward, Binary::silu_backward}) {
      NDArray all({kMost}, DType::float32);
      kernels::binary(f, x, other, all);
      for (int64_t n = 1; n < kMost; ++n) {
        NDArray y({n}, DType::float32), one({1}, DType::float32);
        kernels::binary(f, x.contiguous().slice(0, 0, n), other.slice(0, 0, n), y);
        expect_same(y, all.to_vector<float>(), 0);
        kernels::binary(f, x.slice(0, n, n + 1), other.slice(0, n, n + 1), one);
        expect_same(one, all.to_vector<float>(), n);
      }
    }
  }
}

// Their terms cancel near their zeros: errors are relative to the terms.
TEST_F(VectorMath, DerivativesAreExactToAFewUnitsOfTheirTerms) {
  std::vector<float> x;
  for (float v = -20; v < 20; v += 0.00031f) x.push_back(v);
  const NDArray in = NDArray::from_vector(x), ones = NDArray::ones(in.shape());
  NDArray gelu(in.shape(), DType::float32), silu(in.shape(), DType::float32);
  kernels::binary(Binary::gelu_backward, in, ones, gelu);
  kernels::binary(Binary::silu_backward, in, ones, silu);
  for (size_t i = 0; i < x.size(); ++i) {
    const double v = x[i], s = sigmoid_of(v);
    const double gelu_terms[] = {normal_cdf(v), v * normal_pdf(v)}, silu_terms[] = {s, s * v * (1 - s)};
    const auto expect_near = [&](float got, const double(&terms)[2], const char* what) {
      const double exact = terms[0] + terms[1], size = std::abs(terms[0]) + std::abs(terms[1]);
      ASSERT_LE(std::abs(got - exact), 4 * size * 0x1p-23 + 0x1p-149) << what << " at " << v;
    };
    expect_near(gelu.data<float>()[i], gelu_terms, "gelu");
    expect_near(silu.data<float>()[i], silu_terms, "silu");
  }
}

}  // namespace
}  // namespace thimble
