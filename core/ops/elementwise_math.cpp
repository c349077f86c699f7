// Functions of one number that are called for each element, with their derivatives.
#include <cmath>
#include <numbers>

#include <thimble/core/kernels/elementwise/number_functions.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/elementwise_op.h>
#include <thimble/core/ops/math.h>
#include <thimble/core/ops/rearrange.h>

namespace thimble {

namespace {

using Parameters = std::array<double, 2>;

double softplus_of(double x) { return x > 20 ? x : std::log1p(std::exp(x)); }

constexpr double kGeluSlope = std::numbers::sqrt2 * std::numbers::inv_sqrtpi, kGeluCubic = 0.044715;

double tanh_gelu_of(double x) { return 0.5 * x * (1 + std::tanh(kGeluSlope * (x + kGeluCubic * x * x * x))); }

// exp(min(x, 0) / alpha), which does not overflow where another branch is taken.
Tensor exp_below_zero(const Tensor& x, double alpha = 1) {
  return exp(clamp(x, -std::numeric_limits<double>::infinity(), 0) / alpha);
}

Tensor is_positive(const Tensor& x) { return greater(x, Tensor::scalar(0, x.dtype())); }

Tensor tanh_gelu_slope(const Tensor& x) {
  const Tensor square = x * x, t = tanh(kGeluSlope * (x + kGeluCubic * (square * x)));
  return 0.5 * (1.0 + t) + (0.5 * kGeluSlope) * x * (1.0 - t * t) * (1.0 + (3 * kGeluCubic) * square);
}

Tensor mish_slope(const Tensor& x) {
  const Tensor t = tanh(softplus(x));
  return t + x * (1.0 - t * t) * sigmoid(x);
}

/// A function, and its derivative as one of x and y = f(x): null where that is 0.
struct MathFunction {
  std::string_view name;
  kernels::NumberFunction function;
  Tensor (*derivative)(const Tensor& x, const Tensor& y, const Parameters& p) = nullptr;
  std::array<const char*, 2> parameters = {};
};

using ParametersRef = const Parameters&;
using TensorRef = const Tensor&;

const MathFunction kMathFunctions[] = {
    {"sin", [](double x, double, double) { return std::sin(x); },
     [](TensorRef x, TensorRef, ParametersRef) { return cos(x); }},
    {"cos", [](double x, double, double) { return std::cos(x); },
     [](TensorRef x, TensorRef, ParametersRef) { return -sin(x); }},
    {"tan", [](double x, double, double) { return std::tan(x); },
     [](TensorRef, TensorRef y, ParametersRef) { return 1.0 + y * y; }},
    {"asin", [](double x, double, double) { return std::asin(x); },
     [](TensorRef x, TensorRef, ParametersRef) { return 1.0 / sqrt(1.0 - x * x); }},
    {"acos", [](double x, double, double) { return std::acos(x); },
     [](TensorRef x, TensorRef, ParametersRef) { return -1.0 / sqrt(1.0 - x * x); }},
    {"atan", [](double x, double, double) { return std::atan(x); },
     [](TensorRef x, TensorRef, ParametersRef) { return 1.0 / (1.0 + x * x); }},
    {"sinh", [](double x, double, double) { return std::sinh(x); },
     [](TensorRef x, TensorRef, ParametersRef) { return cosh(x); }},
    {"cosh", [](double x, double, double) { return std::cosh(x); },
     [](TensorRef x, TensorRef, ParametersRef) { return sinh(x); }},
    {"asinh", [](double x, double, double) { return std::asinh(x); },
     [](TensorRef x, TensorRef, ParametersRef) { return 1.0 / sqrt(x * x + 1.0); }},
    {"acosh", [](double x, double, double) { return std::acosh(x); },
     [](TensorRef x, TensorRef, ParametersRef) { return 1.0 / sqrt(x * x - 1.0); }},
    {"atanh", [](double x, double, double) { return std::atanh(x); },
     [](TensorRef x, TensorRef, ParametersRef) { return 1.0 / (1.0 - x * x); }},
    {"log1p", [](double x, double, double) { return std::log1p(x); },
     [](TensorRef x, TensorRef, ParametersRef) { return 1.0 / (1.0 + x); }},
    {"expm1", [](double x, double, double) { return std::expm1(x); },
     [](TensorRef, TensorRef y, ParametersRef) { return y + 1.0; }},
    {"ceil", [](double x, double, double) { return std::ceil(x); }},
    {"floor", [](double x, double, double) { return std::floor(x); }},
    {"round", [](double x, double, double) { return std::nearbyint(x); }},
    {"sign", [](double x, double, double) { return x > 0   ? 1
                                                   : x < 0 ? -1
                                                           : x; }},
    {"softplus",
     [](double x, double beta, double threshold) { return x * beta > threshold ? x : softplus_of(x * beta) / beta; },
     [](TensorRef x, TensorRef, ParametersRef p) {
       const Tensor scaled = p[0] * x;
       return where(greater(scaled, Tensor::scalar(p[1], x.dtype())), Tensor::scalar(1, x.dtype()), sigmoid(scaled));
     },
     {"beta", "threshold"}},
    {"softsign", [](double x, double, double) { return x / (1 + std::abs(x)); },
     [](TensorRef x, TensorRef, ParametersRef) {
       const Tensor root = 1.0 + abs(x);
       return 1.0 / (root * root);
     }},
    {"elu",
     [](double x, double alpha, double) { return x > 0 ? x : alpha * std::expm1(x); },
     [](TensorRef x, TensorRef, ParametersRef p) {
       return where(is_positive(x), Tensor::scalar(1, x.dtype()), p[0] * exp_below_zero(x));
     },
     {"alpha"}},
    {"selu",
     [](double x, double alpha, double scale) { return scale * (x > 0 ? x : alpha * std::expm1(x)); },
     [](TensorRef x, TensorRef, ParametersRef p) {
       return where(is_positive(x), Tensor::scalar(p[1], x.dtype()), p[0] * p[1] * exp_below_zero(x));
     },
     {"alpha", "scale"}},
    {"celu",
     [](double x, double alpha, double) { return x > 0 ? x : alpha * std::expm1(x / alpha); },
     [](TensorRef x, TensorRef, ParametersRef p) {
       return where(is_positive(x), Tensor::scalar(1, x.dtype()), exp_below_zero(x, p[0]));
     },
     {"alpha"}},
    {"mish", [](double x, double, double) { return x * std::tanh(softplus_of(x)); },
     [](TensorRef x, TensorRef, ParametersRef) { return mish_slope(x); }},
    {"gelu_tanh", [](double x, double, double) { return tanh_gelu_of(x); },
     [](TensorRef x, TensorRef, ParametersRef) { return tanh_gelu_slope(x); }},
    {"threshold",
     [](double x, double threshold, double value) { return x <= threshold ? value : x; },
     [](TensorRef x, TensorRef, ParametersRef p) {
       return Tensor(greater(x, Tensor::scalar(p[0], x.dtype())).data().to(x.dtype()));
     },
     {"threshold", "value"}},
    {"shrink",
     [](double x, double lambd, double bias) {
       return x > lambd ? x - bias : x < -lambd ? x + bias : x != x ? x : 0;
     },
     [](TensorRef x, TensorRef, ParametersRef p) {
       return Tensor(greater(abs(x), Tensor::scalar(p[0], x.dtype())).data().to(x.dtype()));
     },
     {"lambd", "bias"}},
};

NDArray sign_of_integers(const NDArray& x) {
  using kernels::IntegerBinary;
  const NDArray not_above = integer_result(IntegerBinary::minimum, x, NDArray::ones({}, x.dtype()));
  if (!is_signed(x.dtype())) return not_above;
  return integer_result(IntegerBinary::maximum, not_above, NDArray::full({}, -1, x.dtype()));
}

class MathOp final : public Op {
 public:
  MathOp(const MathFunction& function, const Parameters& parameters) : function_(function), parameters_(parameters) {}

  std::string_view name() const override { return function_.name; }
  Attributes attributes() const override {
    Attributes result;
    for (size_t i = 0; i < parameters_.size(); ++i)
      if (function_.parameters[i]) result.set(function_.parameters[i], parameters_[i]);
    return result;
  }

  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray& x = inputs[0];
    if (kernels::is_integer(x.dtype()) && name() == "sign") return sign_of_integers(x);
    NDArray out = elementwise_output(check_elementwise(name(), inputs), inputs, x.dtype());
    compute_into(inputs, out);
    return out;
  }
  bool compute_into(std::span<const NDArray> inputs, NDArray& out) const override {
    if (!is_differentiable(out.dtype())) return false;
    kernels::map_numbers(function_.function, inputs[0], out, parameters_[0], parameters_[1]);
    return true;
  }

  std::vector<Tensor> gradient(const Tensor& g, std::span<const Tensor> in, const Tensor& y) override {
    return {function_.derivative ? g * function_.derivative(in[0], y, parameters_) : zeros_like(in[0])};
  }

 private:
  const MathFunction& function_;
  Parameters parameters_;
};

Tensor apply_function(std::string_view name, const Tensor& x, double p0 = 0, double p1 = 0) {
  size_t i = 0;
  while (kMathFunctions[i].name != name) ++i;
  return apply(std::make_unique<MathOp>(kMathFunctions[i], Parameters{p0, p1}), {x});
}

const bool math_is_registered = [] {
  for (const MathFunction& function : kMathFunctions) {
    register_op(std::string(function.name), [&function](const Attributes& attributes) {
      Parameters p{};
      for (size_t i = 0; i < p.size(); ++i)
        if (function.parameters[i]) p[i] = attributes.get<double>(function.parameters[i]);
      return std::make_unique<MathOp>(function, p);
    });
  }
  return true;
}();

}  // namespace

Tensor sin(const Tensor& x) { return apply_function("sin", x); }
Tensor cos(const Tensor& x) { return apply_function("cos", x); }
Tensor tan(const Tensor& x) { return apply_function("tan", x); }
Tensor asin(const Tensor& x) { return apply_function("asin", x); }
Tensor acos(const Tensor& x) { return apply_function("acos", x); }
Tensor atan(const Tensor& x) { return apply_function("atan", x); }
Tensor sinh(const Tensor& x) { return apply_function("sinh", x); }
Tensor cosh(const Tensor& x) { return apply_function("cosh", x); }
Tensor asinh(const Tensor& x) { return apply_function("asinh", x); }
Tensor acosh(const Tensor& x) { return apply_function("acosh", x); }
Tensor atanh(const Tensor& x) { return apply_function("atanh", x); }
Tensor log1p(const Tensor& x) { return apply_function("log1p", x); }
Tensor expm1(const Tensor& x) { return apply_function("expm1", x); }
Tensor log2(const Tensor& x) { return log(x) * std::numbers::log2e; }
Tensor log10(const Tensor& x) { return log(x) * std::numbers::log10e; }
Tensor square(const Tensor& x) { return x * x; }
Tensor reciprocal(const Tensor& x) { return 1.0 / x; }
Tensor rsqrt(const Tensor& x) { return 1.0 / sqrt(x); }
Tensor ceil(const Tensor& x) { return apply_function("ceil", x); }
Tensor floor(const Tensor& x) { return apply_function("floor", x); }
Tensor round(const Tensor& x) { return apply_function("round", x); }
Tensor sign(const Tensor& x) { return apply_function("sign", x); }
Tensor softplus(const Tensor& x, double beta, double threshold) {
  return apply_function("softplus", x, beta, threshold);
}
Tensor softsign(const Tensor& x) { return apply_function("softsign", x); }
Tensor elu(const Tensor& x, double alpha) { return apply_function("elu", x, alpha); }
Tensor selu(const Tensor& x, double alpha, double scale) { return apply_function("selu", x, alpha, scale); }
Tensor celu(const Tensor& x, double alpha) { return apply_function("celu", x, alpha); }
Tensor mish(const Tensor& x) { return apply_function("mish", x); }
Tensor gelu_tanh(const Tensor& x) { return apply_function("gelu_tanh", x); }
Tensor threshold(const Tensor& x, double threshold, double value) {
  return apply_function("threshold", x, threshold, value);
}
Tensor hardshrink(const Tensor& x, double lambd) { return apply_function("shrink", x, lambd, 0); }
Tensor softshrink(const Tensor& x, double lambd) { return apply_function("shrink", x, lambd, lambd); }

}  // namespace thimble
