#include <thimble/core/ops/composed_op.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/indexing.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>
#include <thimble/core/ops/weighted_loss.h>

namespace thimble {

namespace {

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
    const Tensor weights = weights_of(target, weight);
    const Tensor weighted = losses * weights;
    if (reduction_ == Reduction::none) return weighted;
    return reduction_ == Reduction::sum ? sum(weighted) : sum(weighted) / sum(weights);
  }

  // Of each target; 0 where it is ignored.
  Tensor weights_of(const Tensor& target, const Tensor& weight) const {
    NDArray classes = target.data().to(DType::int64).clone(), counts(target.shape(), weight.dtype());
    int64_t* c = classes.data<int64_t>();
    dispatch_float(weight.dtype(), name(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      for (int64_t i = 0; i < classes.numel(); ++i) {
        const bool is_ignored = c[i] == ignore_index_;
        counts.data<T>()[i] = is_ignored ? T{0} : T{1};
        if (is_ignored) c[i] = 0;
      }
    });
    const Tensor each = index_select(weight, 0, classes.reshape({classes.numel()}));
    return reshape(each, target.shape()) * Tensor(counts);
  }

  Reduction reduction_;
  int64_t ignore_index_;
};

}  // namespace

std::unique_ptr<Op> make_weighted_nll_loss(Reduction reduction, int64_t ignore_index) {
  return std::make_unique<WeightedNllLoss>(reduction, ignore_index);
}

Tensor weighted_nll_loss(const Tensor& log_probabilities, const Tensor& target, const Tensor& weight,
                         Reduction reduction, int64_t ignore_index) {
  return apply(make_weighted_nll_loss(reduction, ignore_index), {log_probabilities, target, weight});
}

}  // namespace thimble
