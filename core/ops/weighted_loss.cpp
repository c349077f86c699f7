#include <limits>

#include <thimble/core/ops/composed_op.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/indexing.h>
#include <thimble/core/ops/loss_reduction.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>
#include <thimble/core/ops/weighted_loss.h>

namespace thimble {

namespace {

Tensor is_ignored(const Tensor& classes, int64_t ignore_index) {
  return equal(classes, Tensor(NDArray::full({}, static_cast<double>(ignore_index), DType::int64)));
}

// The weight of each target, which was checked; 0 where it is ignored.
Tensor weights_of(const Tensor& target, const Tensor& weight, int64_t ignore_index) {
  const Tensor classes = cast(target, DType::int64), ignored = is_ignored(classes, ignore_index);
  const Tensor valid = where(ignored, Tensor::scalar(0, DType::int64), classes);
  return where(ignored, Tensor::scalar(0, weight.dtype()), take(weight, valid, 0));
}

// [classes] as they broadcast with x [n, classes, ...].
Tensor per_class(const Tensor& weight, const Tensor& x) {
  Shape shape{weight.numel()};
  for (int d = 2; d < x.ndim(); ++d) shape.push_back(1);
  return reshape(weight, shape);
}

class WeightedNllLoss final : public ComposedOp {
 public:
  WeightedNllLoss(Reduction reduction, int64_t ignore_index) : reduction_(reduction), ignore_index_(ignore_index) {}
  std::string_view name() const override { return "nll_loss"; }
  InputCount num_inputs() const override { return {3, 3}; }
  Attributes attributes() const override {
    return {{"reduction", std::string(thimble::name(reduction_))}, {"ignore_index", ignore_index_}, {"weighted", true}};
  }

 private:
  Tensor formula(std::span<const Tensor> inputs) const override {
    const Tensor &x = inputs[0], &target = inputs[1], &weight = inputs[2];
    const Tensor losses = nll_loss(x, target, Reduction::none, ignore_index_);  // which checks both
    check<ShapeError>(weight.shape() == Shape{x.shape(1)}, name(), ": weight must be [", x.shape(1), "], got ",
                      weight.shape());
    const Tensor weights = weights_of(target, weight, ignore_index_);
    const Tensor weighted = losses * weights;
    if (reduction_ == Reduction::none) return weighted;
    return reduction_ == Reduction::sum ? sum(weighted) : sum(weighted) / sum(weights);
  }

  Reduction reduction_;
  int64_t ignore_index_;
};

}  // namespace

std::unique_ptr<Op> make_weighted_nll_loss(Reduction reduction, int64_t ignore_index) {
  return std::make_unique<WeightedNllLoss>(reduction, ignore_index);
}

Tensor weighted_cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& o) {
  const Tensor log_p = log_softmax(in_full_precision(logits), 1);
  if (o.label_smoothing == 0) return weighted_nll_loss(log_p, target, o.weight, o.reduction, o.ignore_index);
  const Tensor on_target = weighted_nll_loss(log_p, target, o.weight, Reduction::none, o.ignore_index);
  const Tensor on_all = -mean(log_p * per_class(o.weight, log_p), {1});
  const Tensor ignored = is_ignored(cast(target, DType::int64), o.ignore_index);
  const Tensor losses = (1 - o.label_smoothing) * on_target +
                        o.label_smoothing * where(ignored, Tensor::scalar(0, log_p.dtype()), on_all);
  if (o.reduction != Reduction::mean) return reduce_losses(losses, o.reduction);
  return sum(losses) / sum(weights_of(target, o.weight, o.ignore_index));
}

Tensor cross_entropy_of_probabilities(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& o) {
  check<ValueError>(o.ignore_index < 0, "cross_entropy: targets that are probabilities have no class to ignore, got ",
                    "ignore_index ", o.ignore_index);
  const Tensor x = in_full_precision(logits);
  Tensor p = in_full_precision(target);
  check<ShapeError>(x.ndim() >= 2, "cross_entropy: expects input [n, classes, ...], got ", x.shape());
  check_loss_operands("cross_entropy", x, p);
  const auto classes = static_cast<double>(x.shape(1));
  if (o.label_smoothing != 0) p = (1 - o.label_smoothing) * p + o.label_smoothing / classes;
  Tensor log_p = log_softmax(x, 1);
  if (o.weight.defined()) {
    check<ShapeError>(o.weight.shape() == Shape{x.shape(1)}, "cross_entropy: weight must be [", x.shape(1), "], got ",
                      o.weight.shape());
    p = p * per_class(o.weight, log_p);
  }
  // An impossible class, whose logarithm is infinite, costs nothing where it is not expected.
  const double least =
      x.dtype() == DType::float32 ? std::numeric_limits<float>::lowest() : std::numeric_limits<double>::lowest();
  log_p = where(equal(p, Tensor::scalar(0, x.dtype())), clamp(log_p, least), log_p);
  return reduce_losses(-sum(p * log_p, {1}), o.reduction);
}

Tensor weighted_nll_loss(const Tensor& log_probabilities, const Tensor& target, const Tensor& weight,
                         Reduction reduction, int64_t ignore_index) {
  return apply(make_weighted_nll_loss(reduction, ignore_index), {log_probabilities, target, weight});
}

}  // namespace thimble
