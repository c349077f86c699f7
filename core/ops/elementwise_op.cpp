#include <thimble/core/kernels/elementwise/integer_binary.h>
#include <thimble/core/ops/elementwise_op.h>
#include <thimble/core/ops/reduce.h>

namespace thimble {

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
  using kernels::Unary;
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
  const bool takes_bfloat16 = autocast_rule() != AutocastRule::float32;
  NDArray out = elementwise_output(check_elementwise(name_, inputs, 0, takes_bfloat16), inputs, inputs[0].dtype());
  UnaryOp::compute_into(inputs, out);
  return out;
}

bool UnaryOp::compute_into(std::span<const NDArray> inputs, NDArray& out) const {
  kernels::unary(kernel_, inputs[0], out, p0_, p1_);
  return true;
}

AutocastRule BinaryOp::autocast_rule() const {
  using kernels::Binary;
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
  if (kernels::has_integer_binary(kernel_, inputs[0].dtype()) && inputs[1].dtype() == inputs[0].dtype()) {
    NDArray integers(broadcast_shapes(inputs[0].shape(), inputs[1].shape(), name_), inputs[0].dtype());
    kernels::integer_binary(kernel_, inputs[0], inputs[1], integers);
    return integers;
  }
  const bool takes_bfloat16 = autocast_rule() != AutocastRule::float32;
  NDArray out = elementwise_output(check_elementwise(name_, inputs, 0, takes_bfloat16), inputs, inputs[0].dtype());
  BinaryOp::compute_into(inputs, out);
  return out;
}

bool BinaryOp::compute_into(std::span<const NDArray> inputs, NDArray& out) const {
  if (!is_differentiable(out.dtype())) return false;
  kernels::binary(kernel_, inputs[0], inputs[1], out, p0_, p1_);
  return true;
}

Tensor broadcast_gradient(const Tensor& input, const Tensor& full) {
  return full.shape() == input.shape() ? full : sum_to(full, input.shape());
}

}  // namespace thimble
