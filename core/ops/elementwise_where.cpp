#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/elementwise_op.h>
#include <thimble/core/ops/logic.h>

namespace thimble {

namespace {

using kernels::Compare;
using Inputs = std::span<const Tensor>;

class Where : public Op {
 public:
  std::string_view name() const override { return "where"; }
  InputCount num_inputs() const override { return {3, 3}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const Shape both = check_same_dtype(name(), inputs[1], inputs[2]);
    const Shape shape = broadcast_shapes(inputs[0].shape(), both, name());
    NDArray out = elementwise_output(shape, inputs.subspan(1), inputs[1].dtype());
    const DType condition = inputs[0].dtype();
    check<DTypeError>(condition == DType::uint8 || condition == DType::bool_,
                      "where: expects a uint8 or bool condition, got ", condition);
    Where::compute_into(inputs, out);
    return out;
  }
  bool compute_into(std::span<const NDArray> inputs, NDArray& out) const override {
    kernels::where(inputs[0], inputs[1], inputs[2], out);
    return true;
  }
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor&) override {
    const Tensor zero = Tensor::scalar(0, g.dtype());
    return {Tensor(), gradient_for(in[1], [&] { return where(in[0], g, zero); }),
            gradient_for(in[2], [&] { return where(in[0], zero, g); })};
  }
};

/// A comparison: applied like any op, so that a tracer sees them, but never recorded for backward.
class Comparison : public Op {
 public:
  explicit Comparison(Compare kernel) : kernel_(kernel) {}
  std::string_view name() const override { return kNames[static_cast<size_t>(kernel_)]; }
  InputCount num_inputs() const override { return {2, 2}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const std::array<NDArray, 2> operands = of_one_dtype(inputs);
    const Shape shape = check_same_dtype(name(), operands[0], operands[1]);
    NDArray out = elementwise_output(shape, operands, DType::bool_);
    if (is_floating_point(operands[0].dtype())) check_differentiable(operands[0].dtype(), name());
    if (!Comparison::compute_into(operands, out)) kernels::integer_compare(kernel_, operands[0], operands[1], out);
    return out;
  }
  bool compute_into(std::span<const NDArray> inputs, NDArray& out) const override {
    if (!is_differentiable(inputs[0].dtype()) || inputs[1].dtype() != inputs[0].dtype()) return false;
    kernels::compare(kernel_, inputs[0], inputs[1], out);
    return true;
  }
  std::vector<Tensor> gradient(const Tensor&, Inputs, const Tensor&) override { return {{}, {}}; }

 private:
  static constexpr std::string_view kNames[] = {"greater", "greater_equal", "equal"};
  Compare kernel_;
};

template <Compare kKernel>
std::unique_ptr<Op> make_comparison(const Attributes&) {
  return std::make_unique<Comparison>(kKernel);
}

Tensor compare(Compare kernel, const Tensor& a, const Tensor& b) {
  return apply(std::make_unique<Comparison>(kernel), {a, b});
}

const OpRegistration elementwise_where_registrations[] = {
    {"where", make_plain<Where>},
    {"greater", make_comparison<Compare::greater>},
    {"greater_equal", make_comparison<Compare::greater_equal>},
    {"equal", make_comparison<Compare::equal>},
};

}  // namespace

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  return apply(std::make_unique<Where>(), {condition, a, b});
}
Tensor masked_fill(const Tensor& x, const Tensor& mask, double value) {
  const Tensor filled = where(mask, Tensor::scalar(value, x.dtype()), x);
  check<ShapeError>(filled.shape() == x.shape(), "masked_fill: the mask ", mask.shape(), " does not broadcast to x ",
                    x.shape());
  return filled;
}
Tensor greater(const Tensor& a, const Tensor& b) { return compare(Compare::greater, a, b); }
Tensor greater_equal(const Tensor& a, const Tensor& b) { return compare(Compare::greater_equal, a, b); }
Tensor equal(const Tensor& a, const Tensor& b) { return compare(Compare::equal, a, b); }
Tensor not_equal(const Tensor& a, const Tensor& b) { return logical_not(equal(a, b)); }
Tensor less(const Tensor& a, const Tensor& b) { return compare(Compare::greater, b, a); }
Tensor less_equal(const Tensor& a, const Tensor& b) { return compare(Compare::greater_equal, b, a); }

}  // namespace thimble
