// Bases of the elementwise ops: an op adds its name, its kernel and its gradient. Internal to core.
#pragma once

#include <array>

#include <thimble/core/kernels/elementwise/elementwise.h>
#include <thimble/core/kernels/elementwise/integer_binary.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// One kernel pass over one array.
class UnaryOp : public Op {
 public:
  /// p0 and p1 are the kernel's parameters. `name` must live as long as the op.
  explicit UnaryOp(std::string_view name, kernels::Unary kernel, double p0 = 0, double p1 = 0)
      : name_(name), kernel_(kernel), p0_(p0), p1_(p1) {}

  std::string_view name() const override { return name_; }
  AutocastRule autocast_rule() const override;
  NDArray compute(std::span<const NDArray> inputs) override;
  bool compute_into(std::span<const NDArray> inputs, NDArray& out) const override;

 private:
  std::string_view name_;
  kernels::Unary kernel_;
  double p0_, p1_;
};

/// One kernel pass over two arrays, broadcast together.
class BinaryOp : public Op {
 public:
  explicit BinaryOp(std::string_view name, kernels::Binary kernel, double p0 = 0, double p1 = 0)
      : name_(name), kernel_(kernel), p0_(p0), p1_(p1) {}

  std::string_view name() const override { return name_; }
  InputCount num_inputs() const override { return {2, 2}; }
  AutocastRule autocast_rule() const override;
  NDArray compute(std::span<const NDArray> inputs) override;
  bool compute_into(std::span<const NDArray> inputs, NDArray& out) const override;

 private:
  std::string_view name_;
  kernels::Binary kernel_;
  double p0_, p1_;
};

bool is_signed(DType dtype);

/// Of two operands of one integer dtype, or bool, broadcast together.
NDArray integer_result(kernels::IntegerBinary function, const NDArray& a, const NDArray& b);

/// The shape that both broadcast to. Throws DTypeError, beginning with `op`, if their dtypes differ.
Shape check_same_dtype(std::string_view op, const NDArray& a, const NDArray& b);

/// Two operands. Of float32 and float64, a number (without dimensions) takes the other's dtype, as in PyTorch.
std::array<NDArray, 2> of_one_dtype(std::span<const NDArray> inputs);

/// Checks that all inputs but the first `untyped` are of one dtype, float32, float64 or, if so told, bfloat16; returns
/// the shape that all broadcast to. Messages begin with `op`.
Shape check_elementwise(std::string_view op, std::span<const NDArray> inputs, size_t untyped = 0,
                        bool takes_bfloat16 = false);

/// An array for the result, of this shape. It lies in memory as the first input of that shape does that has no gaps:
/// what is computed from channels-last images is channels-last, and one loop over memory.
NDArray elementwise_output(const Shape& shape, std::span<const NDArray> inputs, DType dtype);

/// The gradient of a broadcast input, from `full`, a callable that gives it in the output's shape; not computed if the
/// input needs none.
Tensor broadcast_gradient(const Tensor& input, const Tensor& full);
template <typename F>
Tensor gradient_for(const Tensor& input, F&& full) {
  return input.requires_grad() ? broadcast_gradient(input, full()) : Tensor();
}

/// g * f'(v) in one pass, where f' is the derivative behind one of the *_backward kernels. v and g have one shape.
/// Differentiable in both.
Tensor elementwise_backward(kernels::Binary kernel, const Tensor& v, const Tensor& g, double p0 = 0, double p1 = 0);

/// The factory of an op without attributes.
template <typename T>
std::unique_ptr<Op> make_plain(const Attributes&) {
  return std::make_unique<T>();
}

}  // namespace thimble
