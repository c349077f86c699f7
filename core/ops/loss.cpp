#include <thimble/core/kernels/reduce/reduce.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/loss.h>
#include <thimble/core/ops/loss_reduction.h>
#include <thimble/core/ops/reduce.h>

namespace thimble {

std::string_view name(Reduction reduction) {
  switch (reduction) {
    case Reduction::none:
      return "none";
    case Reduction::mean:
      return "mean";
    case Reduction::sum:
      return "sum";
  }
  throw ValueError("unknown reduction");
}

Reduction reduction_from_name(std::string_view wanted) {
  for (Reduction reduction : {Reduction::none, Reduction::mean, Reduction::sum})
    if (wanted == name(reduction)) return reduction;
  throw ValueError(str("unknown reduction '", wanted, "': expected none, mean or sum"));
}

NDArray reduce_losses(const NDArray& losses, Reduction reduction, int64_t count) {
  if (reduction == Reduction::none) return losses;
  NDArray out({}, losses.dtype());
  kernels::reduce_sum(losses, normalize_axes({}, losses.ndim(), "loss"), out);
  if (reduction == Reduction::sum) return out;
  dispatch_float(out.dtype(), "loss", [&](auto tag) {
    using T = typename decltype(tag)::type;
    *out.data<T>() /= static_cast<T>(count);
  });
  return out;
}

Tensor reduce_losses(const Tensor& losses, Reduction reduction) {
  if (reduction == Reduction::none) return losses;
  return reduction == Reduction::sum ? sum(losses) : mean(losses);
}

Tensor gradient_of_losses(const Tensor& out_grad, Reduction reduction, int64_t count) {
  return reduction == Reduction::mean ? out_grad / static_cast<double>(count) : out_grad;
}

namespace {

class MseLoss final : public Op {
 public:
  explicit MseLoss(Reduction reduction) : reduction_(reduction) {}

  std::string_view name() const override { return "mse_loss"; }
  InputCount num_inputs() const override { return {2, 2}; }
  Attributes attributes() const override { return {{"reduction", std::string(thimble::name(reduction_))}}; }

  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray &input = inputs[0], &target = inputs[1];
    check_loss_operands(name(), input, target);
    NDArray losses(input.shape(), input.dtype());
    // Over no axes: the squared deviation of each element.
    kernels::reduce_squared_deviations(input, {}, target.contiguous(), losses);
    return reduce_losses(losses, reduction_, losses.numel());
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const Tensor scale = gradient_of_losses(out_grad * 2, reduction_, inputs[0].numel());
    const Tensor grad = (inputs[0] - inputs[1]) * scale;
    return {grad, inputs[1].requires_grad() ? -grad : Tensor()};
  }

 private:
  Reduction reduction_;
};

const OpRegistration loss_registration{
    "mse_loss", [](const Attributes& attributes) {
      return std::make_unique<MseLoss>(reduction_from_name(attributes.get<std::string>("reduction", "mean")));
    }};

}  // namespace

Tensor mse_loss(const Tensor& input, const Tensor& target, Reduction reduction) {
  return apply(std::make_unique<MseLoss>(reduction), {in_full_precision(input), in_full_precision(target)});
}

}  // namespace thimble
