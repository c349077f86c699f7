#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/elementwise_op.h>
#include <thimble/core/ops/loss.h>
#include <thimble/core/ops/loss_reduction.h>
#include <thimble/core/ops/math.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

namespace {

// PyTorch's bounds, the latter a float: of logarithms, and of what gradients are divided by.
constexpr double kLeastLogarithm = -100, kLeastSlope = 1e-12f;

template <typename T>
T bounded(T logarithm) {
  return std::max(logarithm, static_cast<T>(kLeastLogarithm));
}

// Of each element. An op of its own, for its gradient is finite where that of the logarithm is not.
class BinaryCrossEntropy final : public Op {
 public:
  std::string_view name() const override { return "binary_cross_entropy"; }
  InputCount num_inputs() const override { return {2, 2}; }

  NDArray compute(std::span<const NDArray> inputs) override {
    check_loss_operands(name(), inputs[0], inputs[1]);
    const NDArray p = inputs[0].contiguous(), target = inputs[1].contiguous();
    NDArray losses(p.shape(), p.dtype());
    dispatch_float(p.dtype(), name(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const T *input = p.data<T>(), *t = target.data<T>();
      for (int64_t i = 0; i < p.numel(); ++i) {
        check<ValueError>(input[i] >= 0 && input[i] <= 1, name(), ": input ", i, " is ", input[i],
                          ", no probability; logits are for binary_cross_entropy_with_logits");
        losses.data<T>()[i] = -(t[i] * bounded(std::log(input[i])) + (1 - t[i]) * bounded(std::log1p(-input[i])));
      }
    });
    return losses;
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const Tensor &p = inputs[0], &t = inputs[1];
    std::vector<Tensor> grads(2);
    if (p.requires_grad()) grads[0] = out_grad * (p - t) / clamp(p * (1.0 - p), kLeastSlope);
    if (t.requires_grad())
      grads[1] = out_grad * (clamp(log(1.0 - p), kLeastLogarithm) - clamp(log(p), kLeastLogarithm));
    return grads;
  }
};

const OpRegistration binary_cross_entropy_registration{"binary_cross_entropy", make_plain<BinaryCrossEntropy>};

// Checked and broadcast to the input's shape, to multiply with.
Tensor as_factor(const char* loss, const char* what, const Tensor& factor, const Tensor& x) {
  check<DTypeError>(factor.dtype() == x.dtype(), loss, ": ", what, " must be ", x.dtype(), ", got ", factor.dtype());
  try {
    return broadcast_to(factor, x.shape());
  } catch (const ShapeError&) {
    throw ShapeError(str(loss, ": ", what, " ", factor.shape(), " does not broadcast to input ", x.shape()));
  }
}

Tensor reduce_weighted(const char* loss, const Tensor& losses, const Tensor& weight, Reduction reduction) {
  return reduce_losses(weight.defined() ? losses * as_factor(loss, "weight", weight, losses) : losses, reduction);
}

// log(1 + exp(x)) with all digits, where softplus() by default ends at 20.
Tensor exact_softplus(const Tensor& x) { return softplus(x, 1, std::numeric_limits<double>::infinity()); }

}  // namespace

Tensor binary_cross_entropy(const Tensor& input, const Tensor& target, const BinaryCrossEntropyOptions& options) {
  const Tensor losses = apply(std::make_unique<BinaryCrossEntropy>(), {input, target});
  return reduce_weighted("binary_cross_entropy", losses, options.weight, options.reduction);
}

Tensor binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target,
                                        const BinaryCrossEntropyWithLogitsOptions& options) {
  constexpr const char* kName = "binary_cross_entropy_with_logits";
  const Tensor x = in_full_precision(input), t = in_full_precision(target);
  check_loss_operands(kName, x, t);
  // -log(sigmoid(x)) and -log(1 - sigmoid(x)), neither of which is a small difference of large numbers.
  Tensor of_positives = t * exact_softplus(-x);
  const Tensor of_negatives = (1.0 - t) * exact_softplus(x);
  if (options.pos_weight.defined()) of_positives = of_positives * as_factor(kName, "pos_weight", options.pos_weight, x);
  return reduce_weighted(kName, of_positives + of_negatives, options.weight, options.reduction);
}

}  // namespace thimble
