#include <numbers>

#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/elementwise_op.h>

namespace thimble {

namespace {

using kernels::Binary;
using Inputs = std::span<const Tensor>;

Tensor tanh_second(const Tensor& y) { return -2.0 * y; }

Tensor sigmoid_second(const Tensor& y) { return 1.0 - 2.0 * y; }

Tensor gelu_second(const Tensor& x) {
  const Tensor square = x * x;
  return exp(-0.5 * square) * (2.0 - square) * (std::numbers::inv_sqrtpi / std::numbers::sqrt2);
}

Tensor silu_second(const Tensor& x) {
  const Tensor s = sigmoid(x);
  return s * (1.0 - s) * (2.0 + x * (1.0 - 2.0 * s));
}

// 1/3 between -3 and 3.
Tensor hardswish_second(const Tensor& x) {
  const Tensor third = NDArray::full(x.shape(), 1.0 / 3, x.dtype());
  return elementwise_backward(Binary::hardtanh_backward, x, third, -3, 3);
}

/// One derivative f'(v). `second` is f''(v), null where f is piecewise linear.
struct Derivative {
  Binary kernel;
  std::string_view name;
  Tensor (*second)(const Tensor& v) = nullptr;
  std::array<const char*, 2> parameters = {};
};

constexpr Derivative kDerivatives[] = {
    {Binary::abs_backward, "abs_backward"},
    {Binary::relu_backward, "threshold_backward"},
    {Binary::leaky_relu_backward, "leaky_relu_backward", nullptr, {"negative_slope"}},
    {Binary::hardtanh_backward, "hardtanh_backward", nullptr, {"min_val", "max_val"}},
    {Binary::clamp_backward, "clamp_backward", nullptr, {"min", "max"}},
    {Binary::tanh_backward, "tanh_backward", tanh_second},
    {Binary::sigmoid_backward, "sigmoid_backward", sigmoid_second},
    {Binary::gelu_backward, "gelu_backward", gelu_second},
    {Binary::silu_backward, "silu_backward", silu_second},
    {Binary::hardswish_backward, "hardswish_backward", hardswish_second},
};

/// g * f'(v): linear in g, so its gradient there is the op itself.
class ElementwiseBackward : public BinaryOp {
 public:
  ElementwiseBackward(const Derivative& derivative, double p0, double p1)
      : BinaryOp(derivative.name, derivative.kernel, p0, p1), derivative_(derivative), parameters_{p0, p1} {}

  Attributes attributes() const override {
    Attributes result;
    for (size_t i = 0; i < parameters_.size(); ++i)
      if (derivative_.parameters[i]) result.set(derivative_.parameters[i], parameters_[i]);
    return result;
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, Inputs in, const Tensor&) override {
    const Tensor &v = in[0], &g = in[1];
    auto to_v = [&] {
      return derivative_.second ? out_grad * g * derivative_.second(v) : Tensor(NDArray::zeros(v.shape(), v.dtype()));
    };
    auto to_g = [&] { return elementwise_backward(derivative_.kernel, v, out_grad, parameters_[0], parameters_[1]); };
    return {gradient_for(v, to_v), gradient_for(g, to_g)};
  }

 private:
  const Derivative& derivative_;
  std::array<double, 2> parameters_;
};

const Derivative& find(Binary kernel) {
  size_t i = 0;
  while (kDerivatives[i].kernel != kernel) ++i;
  return kDerivatives[i];
}

const bool registered = [] {
  for (const Derivative& derivative : kDerivatives) {
    register_op(std::string(derivative.name), [&derivative](const Attributes& attributes) {
      std::array<double, 2> p{};
      for (size_t i = 0; i < p.size(); ++i)
        if (derivative.parameters[i]) p[i] = attributes.get<double>(derivative.parameters[i]);
      return std::make_unique<ElementwiseBackward>(derivative, p[0], p[1]);
    });
  }
  return true;
}();

}  // namespace

Tensor elementwise_backward(Binary kernel, const Tensor& v, const Tensor& g, double p0, double p1) {
  return apply(std::make_unique<ElementwiseBackward>(find(kernel), p0, p1), {v, g});
}

}  // namespace thimble
