#include <thimble/core/ops/cast.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/elementwise_op.h>

namespace thimble {

namespace {

using kernels::Binary;
using kernels::Unary;
using Arrays = std::span<const NDArray>;
using Inputs = std::span<const Tensor>;

// base^exponent in the base's dtype. Of integers alone it is exact; else it is computed in floats, and truncated where
// the base is an integer.
NDArray power_of_any_dtype(const NDArray& base, const NDArray& exponent) {
  if (kernels::is_integer(base.dtype()) && kernels::is_integer(exponent.dtype())) {
    // The base's dtype may not hold the exponent.
    const DType wide = exponent.dtype() == DType::uint64 ? DType::uint64 : DType::int64;
    return integer_result(kernels::IntegerBinary::pow, base.to(wide), exponent.to(wide)).to(base.dtype());
  }
  const DType dtype = is_differentiable(base.dtype()) ? base.dtype() : DType::float64;
  const NDArray operands[] = {base.to(dtype), exponent.to(dtype)};
  NDArray out = elementwise_output(broadcast_shapes(base.shape(), exponent.shape(), "pow"), operands, dtype);
  kernels::binary(Binary::pow, operands[0], operands[1], out);
  return out.to(base.dtype());
}

/// base^exponent for a number; as an attribute, not an input, it stays visible in a traced graph.
class PowScalar : public UnaryOp {
 public:
  // Squares are by far the most common powers, and the C library's pow is slow.
  explicit PowScalar(double exponent)
      : UnaryOp("pow", exponent == 2 ? Unary::square : Unary::pow, exponent), exponent_(exponent) {}
  Attributes attributes() const override { return {{"exponent", exponent_}}; }
  NDArray compute(Arrays inputs) override {
    const bool of_floats = carries_gradients(inputs[0].dtype()) || exponent_ == 2;
    if (of_floats || !kernels::is_integer(inputs[0].dtype())) return UnaryOp::compute(inputs);
    return power_of_any_dtype(inputs[0], NDArray::full({}, exponent_, DType::float64));
  }
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor&) override {
    const Tensor& base = in[0];
    if (exponent_ == 0) return {Tensor(NDArray::zeros(base.shape(), base.dtype()))};
    if (exponent_ == 2) return {g * (2.0 * base)};
    return {g * (exponent_ * pow(base, exponent_ - 1))};
  }

 private:
  double exponent_;
};

/// base^exponent. Where a factor of 0 meets infinity the gradient is 0, as in PyTorch; to keep NaN out of the second
/// derivatives too, such a base is replaced by 1 before it can make infinity.
class Pow : public BinaryOp {
 public:
  Pow() : BinaryOp("pow", Binary::pow) {}
  NDArray compute(Arrays inputs) override {
    const bool of_one_float_dtype = inputs[0].dtype() == inputs[1].dtype() && is_differentiable(inputs[0].dtype());
    const bool takes = is_computed_in(inputs[0].dtype()) && is_computed_in(inputs[1].dtype());
    return of_one_float_dtype || !takes ? BinaryOp::compute(inputs) : power_of_any_dtype(inputs[0], inputs[1]);
  }
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor& power) override {
    const Tensor &base = in[0], exponent = cast(in[1], in[0].dtype());
    const Tensor zero = Tensor::scalar(0, g.dtype()), one = Tensor::scalar(1, g.dtype());
    auto to_base = [&] {  // exponent * base^(exponent - 1), for exponent 0 at base 0 or NaN
      const Tensor regular = where(greater(abs(base), zero), base, one);
      return g * (exponent * pow(where(equal(exponent, zero), regular, base), exponent - 1.0));
    };
    auto to_exponent = [&] {  // base^exponent * log(base), for base 0 and exponent >= 0
      const Tensor regular = where(greater_equal(exponent, zero), one, base);
      return g * (power * log(where(equal(base, zero), regular, base)));
    };
    return {gradient_for(base, to_base), gradient_for(in[1], to_exponent)};
  }

 private:
  static bool is_computed_in(DType dtype) { return is_differentiable(dtype) || kernels::is_integer(dtype); }
};

std::unique_ptr<Op> make_pow(const Attributes& attributes) {
  if (attributes.contains("exponent")) return std::make_unique<PowScalar>(attributes.get<double>("exponent"));
  return std::make_unique<Pow>();
}

const OpRegistration elementwise_pow_registration{"pow", make_pow};

}  // namespace

Tensor pow(const Tensor& base, const Tensor& exponent) { return apply(std::make_unique<Pow>(), {base, exponent}); }
Tensor pow(const Tensor& base, double exponent) { return apply(std::make_unique<PowScalar>(exponent), {base}); }

}  // namespace thimble
