#include <optional>

#include <thimble/core/kernels/elementwise/integer_binary.h>
#include <thimble/core/ops/cast.h>
#include <thimble/core/ops/elementwise_op.h>
#include <thimble/core/ops/reduce.h>

namespace thimble {

namespace {

using kernels::Binary;
using kernels::IntegerBinary;
using kernels::Unary;

std::optional<IntegerBinary> integer_binary_of(Binary kernel) {
  switch (kernel) {
    case Binary::add:
      return IntegerBinary::add;
    case Binary::sub:
      return IntegerBinary::sub;
    case Binary::mul:
      return IntegerBinary::mul;
    case Binary::div:
      return IntegerBinary::div;
    case Binary::maximum:
      return IntegerBinary::maximum;
    case Binary::minimum:
      return IntegerBinary::minimum;
    default:
      return std::nullopt;
  }
}

bool is_integer_unary(Unary kernel) {
  return kernel == Unary::neg || kernel == Unary::abs || kernel == Unary::relu || kernel == Unary::square;
}

NDArray integer_unary(Unary kernel, const NDArray& x) {
  const NDArray zero = NDArray::zeros({}, x.dtype());
  const auto negative = [&] { return integer_result(IntegerBinary::sub, zero, x); };
  switch (kernel) {
    case Unary::neg:
      return negative();
    case Unary::square:
      return integer_result(IntegerBinary::mul, x, x);
    case Unary::relu:
      return integer_result(IntegerBinary::maximum, x, zero);
    default:  // abs
      return is_signed(x.dtype()) ? integer_result(IntegerBinary::maximum, x, negative()) : x;
  }
}

}  // namespace

bool is_signed(DType dtype) {
  return dispatch(dtype, [](auto tag) {
    using T = typename decltype(tag)::type;
    return std::is_signed_v<T> || is_16_bit_float<T>;
  });
}

NDArray integer_result(IntegerBinary function, const NDArray& a, const NDArray& b) {
  NDArray out(broadcast_shapes(a.shape(), b.shape(), "integer arithmetic"), a.dtype());
  kernels::integer_binary(function, a, b, out);
  return out;
}

Shape check_same_dtype(std::string_view op, const NDArray& a, const NDArray& b) {
  check<DTypeError>(a.dtype() == b.dtype(), op, ": dtypes ", a.dtype(), " and ", b.dtype(), " differ");
  return broadcast_shapes(a.shape(), b.shape(), op);
}

std::array<NDArray, 2> of_one_dtype(std::span<const NDArray> inputs) {
  const NDArray &a = inputs[0], &b = inputs[1];
  const bool is_mixed = a.dtype() != b.dtype() && is_differentiable(a.dtype()) && is_differentiable(b.dtype());
  if (!is_mixed || (a.ndim() > 0 && b.ndim() > 0)) return {a, b};
  const DType dtype = a.ndim() > 0 ? a.dtype() : b.ndim() > 0 ? b.dtype() : DType::float64;
  return {a.to(dtype), b.to(dtype)};
}

Shape check_elementwise(std::string_view op, std::span<const NDArray> inputs, size_t untyped, bool takes_bfloat16) {
  const DType dtype = inputs.back().dtype();
  Shape shape = inputs[0].shape();
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (i > 0) shape = broadcast_shapes(shape, inputs[i].shape(), op);
    if (i < untyped) continue;
    if (!takes_bfloat16 || inputs[i].dtype() != DType::bfloat16) check_differentiable(inputs[i].dtype(), op);
    check<DTypeError>(inputs[i].dtype() == dtype, op, ": dtypes ", inputs[i].dtype(), " and ", dtype, " differ");
  }
  return shape;
}

NDArray elementwise_output(const Shape& shape, std::span<const NDArray> inputs, DType dtype) {
  for (const NDArray& x : inputs)
    if (x.shape() == shape && x.is_dense()) return NDArray::empty_like(x, dtype);
  return NDArray(shape, dtype);
}

// What stays near the numbers that it is given; functions with steep slopes get float32.
AutocastRule UnaryOp::autocast_rule() const {
  switch (kernel_) {
    case Unary::exp:
    case Unary::log:
    case Unary::sqrt:
    case Unary::square:
    case Unary::pow:
    case Unary::erf:
      return AutocastRule::float32;
    default:
      return AutocastRule::keep;
  }
}

NDArray UnaryOp::compute(std::span<const NDArray> inputs) {
  if (kernels::is_integer(inputs[0].dtype()) && is_integer_unary(kernel_)) return integer_unary(kernel_, inputs[0]);
  const bool takes_bfloat16 = autocast_rule() != AutocastRule::float32;
  NDArray out = elementwise_output(check_elementwise(name_, inputs, 0, takes_bfloat16), inputs, inputs[0].dtype());
  UnaryOp::compute_into(inputs, out);
  return out;
}

bool UnaryOp::compute_into(std::span<const NDArray> inputs, NDArray& out) const {
  if (!carries_gradients(out.dtype())) return false;
  kernels::unary(kernel_, inputs[0], out, p0_, p1_);
  return true;
}

AutocastRule BinaryOp::autocast_rule() const {
  switch (kernel_) {
    case Binary::div:
    case Binary::pow:
    case Binary::maximum:
    case Binary::minimum:
      return AutocastRule::float32;
    default:
      return AutocastRule::widest;
  }
}

NDArray BinaryOp::compute(std::span<const NDArray> inputs) {
  const std::optional<IntegerBinary> integers = integer_binary_of(kernel_);
  if (integers && kernels::is_integer(inputs[0].dtype()) && inputs[1].dtype() == inputs[0].dtype()) {
    NDArray out(broadcast_shapes(inputs[0].shape(), inputs[1].shape(), name_), inputs[0].dtype());
    kernels::integer_binary(*integers, inputs[0], inputs[1], out);
    return out;
  }
  const bool takes_bfloat16 = autocast_rule() != AutocastRule::float32;
  const std::array<NDArray, 2> operands = of_one_dtype(inputs);
  const Shape shape = check_elementwise(name_, operands, 0, takes_bfloat16);
  NDArray out = elementwise_output(shape, operands, operands[0].dtype());
  BinaryOp::compute_into(operands, out);
  return out;
}

bool BinaryOp::compute_into(std::span<const NDArray> inputs, NDArray& out) const {
  if (!carries_gradients(out.dtype()) || inputs[0].dtype() != out.dtype() || inputs[1].dtype() != out.dtype())
    return false;
  kernels::binary(kernel_, inputs[0], inputs[1], out, p0_, p1_);
  return true;
}

Tensor broadcast_gradient(const Tensor& input, const Tensor& full) {
  const Tensor own = full.shape() == input.shape() ? full : sum_to(full, input.shape());
  return is_differentiable(own.dtype()) && is_differentiable(input.dtype()) ? cast(own, input.dtype()) : own;
}

}  // namespace thimble
