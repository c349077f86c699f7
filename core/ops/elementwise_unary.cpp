#include <numbers>

#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/elementwise_op.h>

namespace thimble {

namespace {

using kernels::Binary;
using kernels::Unary;
using Inputs = std::span<const Tensor>;

class Neg : public UnaryOp {
 public:
  Neg() : UnaryOp("neg", Unary::neg) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs, const Tensor&) override { return {-g}; }
};

class Abs : public UnaryOp {
 public:
  Abs() : UnaryOp("abs", Unary::abs) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor&) override {
    return {elementwise_backward(Binary::abs_backward, in[0], g)};
  }
};

class Exp : public UnaryOp {
 public:
  Exp() : UnaryOp("exp", Unary::exp) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs, const Tensor& y) override { return {g * y}; }
};

class Log : public UnaryOp {
 public:
  Log() : UnaryOp("log", Unary::log) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor&) override { return {g / in[0]}; }
};

class Sqrt : public UnaryOp {
 public:
  Sqrt() : UnaryOp("sqrt", Unary::sqrt) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs, const Tensor& y) override { return {g / (2.0 * y)}; }
};

class Tanh : public UnaryOp {
 public:
  Tanh() : UnaryOp("tanh", Unary::tanh) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs, const Tensor& y) override {
    return {elementwise_backward(Binary::tanh_backward, y, g)};
  }
};

class Sigmoid : public UnaryOp {
 public:
  Sigmoid() : UnaryOp("sigmoid", Unary::sigmoid) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs, const Tensor& y) override {
    return {elementwise_backward(Binary::sigmoid_backward, y, g)};
  }
};

class Relu : public UnaryOp {
 public:
  Relu() : UnaryOp("relu", Unary::relu) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor&) override {
    return {elementwise_backward(Binary::relu_backward, in[0], g)};
  }
};

class Relu6 : public UnaryOp {
 public:
  Relu6() : UnaryOp("relu6", Unary::clamp, 0, 6) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor&) override {
    return {elementwise_backward(Binary::hardtanh_backward, in[0], g, 0, 6)};
  }
};

class LeakyRelu : public UnaryOp {
 public:
  explicit LeakyRelu(double slope) : UnaryOp("leaky_relu", Unary::leaky_relu, slope), slope_(slope) {}
  static std::unique_ptr<Op> make(const Attributes& attributes) {
    return std::make_unique<LeakyRelu>(attributes.get<double>("negative_slope"));
  }
  Attributes attributes() const override { return {{"negative_slope", slope_}}; }
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor&) override {
    return {elementwise_backward(Binary::leaky_relu_backward, in[0], g, slope_)};
  }

 private:
  double slope_;
};

class Gelu : public UnaryOp {
 public:
  Gelu() : UnaryOp("gelu", Unary::gelu) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor&) override {
    return {elementwise_backward(Binary::gelu_backward, in[0], g)};
  }
};

class Silu : public UnaryOp {
 public:
  Silu() : UnaryOp("silu", Unary::silu) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor&) override {
    return {elementwise_backward(Binary::silu_backward, in[0], g)};
  }
};

class HardSigmoid : public UnaryOp {
 public:
  HardSigmoid() : UnaryOp("hardsigmoid", Unary::hardsigmoid) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor&) override {
    return {elementwise_backward(Binary::hardtanh_backward, in[0], g, -3, 3) / 6.0};
  }
};

class HardSwish : public UnaryOp {
 public:
  HardSwish() : UnaryOp("hardswish", Unary::hardswish) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor&) override {
    return {elementwise_backward(Binary::hardswish_backward, in[0], g)};
  }
};

class Erf : public UnaryOp {
 public:
  Erf() : UnaryOp("erf", Unary::erf) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor&) override {
    return {g * exp(-(in[0] * in[0])) * (2 * std::numbers::inv_sqrtpi)};
  }
};

class Clamp : public UnaryOp {
 public:
  Clamp(double min, double max) : UnaryOp("clamp", Unary::clamp, min, max), min_(min), max_(max) {
    check(min <= max, "clamp: min ", min, " is not below max ", max);
  }
  static std::unique_ptr<Op> make(const Attributes& attributes) {
    const double min = attributes.get("min", -kInfinity), max = attributes.get("max", kInfinity);
    check<FormatError>(min <= max, "clamp: min ", min, " is not below max ", max);
    return std::make_unique<Clamp>(min, max);
  }
  // Only the bounds that there are: files cannot hold infinity.
  Attributes attributes() const override {
    Attributes result;
    if (min_ != -kInfinity) result.set("min", min_);
    if (max_ != kInfinity) result.set("max", max_);
    return result;
  }
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor&) override {
    return {elementwise_backward(Binary::clamp_backward, in[0], g, min_, max_)};
  }

 private:
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();
  double min_, max_;
};

const OpRegistration elementwise_unary_registrations[] = {
    {"neg", make_plain<Neg>},
    {"abs", make_plain<Abs>},
    {"exp", make_plain<Exp>},
    {"log", make_plain<Log>},
    {"sqrt", make_plain<Sqrt>},
    {"tanh", make_plain<Tanh>},
    {"sigmoid", make_plain<Sigmoid>},
    {"relu", make_plain<Relu>},
    {"relu6", make_plain<Relu6>},
    {"leaky_relu", LeakyRelu::make},
    {"gelu", make_plain<Gelu>},
    {"silu", make_plain<Silu>},
    {"erf", make_plain<Erf>},
    {"clamp", Clamp::make},
    {"hardsigmoid", make_plain<HardSigmoid>},
    {"hardswish", make_plain<HardSwish>},
};

}  // namespace

Tensor neg(const Tensor& x) { return apply(std::make_unique<Neg>(), {x}); }
Tensor abs(const Tensor& x) { return apply(std::make_unique<Abs>(), {x}); }
Tensor exp(const Tensor& x) { return apply(std::make_unique<Exp>(), {x}); }
Tensor log(const Tensor& x) { return apply(std::make_unique<Log>(), {x}); }
Tensor sqrt(const Tensor& x) { return apply(std::make_unique<Sqrt>(), {x}); }
Tensor tanh(const Tensor& x) { return apply(std::make_unique<Tanh>(), {x}); }
Tensor sigmoid(const Tensor& x) { return apply(std::make_unique<Sigmoid>(), {x}); }
Tensor relu(const Tensor& x) { return apply(std::make_unique<Relu>(), {x}); }
Tensor relu6(const Tensor& x) { return apply(std::make_unique<Relu6>(), {x}); }
Tensor leaky_relu(const Tensor& x, double negative_slope) {
  return apply(std::make_unique<LeakyRelu>(negative_slope), {x});
}
Tensor gelu(const Tensor& x) { return apply(std::make_unique<Gelu>(), {x}); }
Tensor silu(const Tensor& x) { return apply(std::make_unique<Silu>(), {x}); }
Tensor hardsigmoid(const Tensor& x) { return apply(std::make_unique<HardSigmoid>(), {x}); }
Tensor hardswish(const Tensor& x) { return apply(std::make_unique<HardSwish>(), {x}); }
Tensor erf(const Tensor& x) { return apply(std::make_unique<Erf>(), {x}); }
Tensor clamp(const Tensor& x, double min, double max) { return apply(std::make_unique<Clamp>(min, max), {x}); }

}  // namespace thimble
