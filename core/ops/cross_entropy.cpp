#include <algorithm>
#include <utility>

#include <thimble/core/kernels/reduce/softmax.h>
#include <thimble/core/ops/channels_last.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/loss.h>
#include <thimble/core/ops/loss_reduction.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>
#include <thimble/core/ops/weighted_loss.h>

namespace thimble {

namespace {

using kernels::kIgnored;

// What the losses keep of a target for their gradients.
struct Target {
  NDArray classes;    // int64, contiguous; kIgnored for those that do not count
  int64_t count = 0;  // of those that do

  bool ignores() const { return count < classes.numel(); }
  // What the gradient of a mean is divided by: 0 over nothing, not NaN.
  int64_t divisor() const { return std::max<int64_t>(count, 1); }
};

// `target` checked against x [n, classes, d...].
Target checked_target(const NDArray& x, const NDArray& target, int64_t ignore_index, std::string_view op) {
  check<ShapeError>(x.ndim() >= 2, op, ": expects input [n, classes, ...], got ", x.shape());
  Shape expected = x.shape();
  expected.erase(1);
  check<ShapeError>(target.shape() == expected, op, ": input ", x.shape(), " expects target ", expected, ", got ",
                    target.shape());
  const DType dtype = target.dtype();
  check<DTypeError>(dtype == DType::int64 || dtype == DType::int32 || dtype == DType::uint8, op,
                    ": target must be int64, int32 or uint8, got ", dtype);
  // A copy: the caller's may be changed before the gradient is asked for.
  Target checked{NDArray(target.shape(), DType::int64)};
  checked.classes.copy_from(target);
  int64_t* classes = checked.classes.data<int64_t>();
  for (int64_t i = 0; i < target.numel(); ++i) {
    const int64_t c = classes[i];
    const bool is_ignored = c == ignore_index;
    check<ValueError>((c >= 0 && c < x.shape(1)) || is_ignored, op, ": target ", i, " is class ", c, ", but there are ",
                      x.shape(1), " classes");
    if (is_ignored)
      classes[i] = kIgnored;
    else
      ++checked.count;
  }
  return checked;
}

// The distribution over classes that each target stands for, in x's shape: 1 - smoothing on the class, and
// smoothing / classes everywhere. An ignored target's is left at the latter.
Tensor target_distribution(const Tensor& x, const NDArray& target, double smoothing) {
  const int64_t classes = x.shape(1);
  NDArray rows = NDArray::full({target.numel(), classes}, smoothing / static_cast<double>(classes), x.dtype());
  dispatch_float(x.dtype(), "target", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t* t = target.data<int64_t>();
    for (int64_t r = 0; r < target.numel(); ++r)
      if (t[r] != kIgnored) rows.data<T>()[r * classes + t[r]] += static_cast<T>(1 - smoothing);
  });
  Shape shape = target.shape();
  shape.push_back(classes);
  return from_channels_last(rows.reshape(shape));
}

// What each class contributes to its loss's gradient times that of the loss; 0 where the target is ignored.
Tensor gradient_per_class(const Tensor& contribution, const Tensor& out_grad, Reduction reduction,
                          const Target& target) {
  const Tensor g = gradient_of_losses(out_grad, reduction, target.divisor());
  const Tensor gradient = contribution * (reduction == Reduction::none ? unsqueeze(g, 1) : g);
  if (!target.ignores()) return gradient;
  NDArray counts(target.classes.shape(), DType::uint8);
  std::transform(target.classes.data<int64_t>(), target.classes.data<int64_t>() + counts.numel(),
                 counts.data<uint8_t>(), [](int64_t c) { return static_cast<uint8_t>(c != kIgnored); });
  return where(Tensor(counts.unsqueeze(1)), gradient, Tensor::scalar(0, gradient.dtype()));
}

void check_smoothing(const CrossEntropyOptions& options) {
  check<ValueError>(options.label_smoothing >= 0 && options.label_smoothing <= 1,
                    "cross_entropy: label_smoothing must lie in [0, 1], got ", options.label_smoothing);
}

class NllLoss final : public Op {
 public:
  NllLoss(Reduction reduction, int64_t ignore_index) : reduction_(reduction), ignore_index_(ignore_index) {}

  std::string_view name() const override { return "nll_loss"; }
  InputCount num_inputs() const override { return {2, 2}; }
  Attributes attributes() const override {
    return {{"reduction", std::string(thimble::name(reduction_))}, {"ignore_index", ignore_index_}};
  }

  NDArray compute(std::span<const NDArray> inputs) override {
    target_ = checked_target(inputs[0], inputs[1], ignore_index_, name());
    const NDArray x = to_channels_last(inputs[0]);
    NDArray losses(target_.classes.shape(), x.dtype());
    dispatch_float(x.dtype(), name(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const int64_t* t = std::as_const(target_.classes).data<int64_t>();
      for (int64_t r = 0; r < losses.numel(); ++r)
        losses.data<T>()[r] = t[r] == kIgnored ? T{0} : -x.data<T>()[r * x.shape(-1) + t[r]];
    });
    return reduce_losses(losses, reduction_, target_.count);
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    return {gradient_per_class(target_distribution(inputs[0], target_.classes, 0), -out_grad, reduction_, target_),
            Tensor()};
  }

 private:
  Reduction reduction_;
  int64_t ignore_index_;
  Target target_;
};

class CrossEntropy final : public Op {
 public:
  explicit CrossEntropy(const CrossEntropyOptions& options) : options_(options) { check_smoothing(options); }

  std::string_view name() const override { return "cross_entropy"; }
  InputCount num_inputs() const override { return {2, 2}; }
  Attributes attributes() const override {
    return {{"reduction", std::string(thimble::name(options_.reduction))},
            {"label_smoothing", options_.label_smoothing},
            {"ignore_index", options_.ignore_index}};
  }

  NDArray compute(std::span<const NDArray> inputs) override {
    target_ = checked_target(inputs[0], inputs[1], options_.ignore_index, name());
    const NDArray x = to_channels_last(inputs[0]);
    NDArray losses(target_.classes.shape(), x.dtype());
    dispatch_float(x.dtype(), name(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      statistics_ = NDArray({losses.numel(), 2}, x.dtype());
      kernels::cross_entropy<T>(x.data<T>(), target_.classes.data<int64_t>(), losses.numel(), x.shape(-1),
                                static_cast<T>(options_.label_smoothing), losses.data<T>(), statistics<T>());
    });
    return reduce_losses(losses, options_.reduction, target_.count);
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    if (!grad_enabled()) return {fused_gradient(out_grad.data(), inputs[0].data()), Tensor()};
    const Tensor expected = target_distribution(inputs[0], target_.classes, options_.label_smoothing);
    return {gradient_per_class(softmax(inputs[0], 1) - expected, out_grad, options_.reduction, target_), Tensor()};
  }

 private:
  template <typename T>
  kernels::SoftmaxStatistics<T>* statistics() {
    static_assert(sizeof(kernels::SoftmaxStatistics<T>) == 2 * sizeof(T));
    return reinterpret_cast<kernels::SoftmaxStatistics<T>*>(statistics_.data<T>());
  }

  // What the composed gradient says, in one pass, for the usual case that nobody will differentiate it.
  Tensor fused_gradient(const NDArray& out_grad, const NDArray& logits) {
    const NDArray x = to_channels_last(logits), g = out_grad.contiguous();
    NDArray out(x.shape(), x.dtype());
    dispatch_float(x.dtype(), name(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const bool mean = options_.reduction == Reduction::mean;
      kernels::cross_entropy_backward<T>(x.data<T>(), target_.classes.data<int64_t>(), statistics<T>(),
                                         target_.classes.numel(), x.shape(-1), static_cast<T>(options_.label_smoothing),
                                         g.data<T>(), options_.reduction == Reduction::none ? 1 : 0,
                                         mean ? T{1} / static_cast<T>(target_.divisor()) : T{1}, out.data<T>());
    });
    return from_channels_last(out);
  }

  CrossEntropyOptions options_;
  Target target_;
  NDArray statistics_;  // a SoftmaxStatistics for each target
};

const OpRegistration nll_loss_registration{"nll_loss", [](const Attributes& a) -> std::unique_ptr<Op> {
                                             const Reduction reduction =
                                                 reduction_from_name(a.get<std::string>("reduction", "mean"));
                                             const int64_t ignore_index = a.get<int64_t>("ignore_index", kIgnoreIndex);
                                             if (a.get<bool>("weighted", false))
                                               return make_weighted_nll_loss(reduction, ignore_index);
                                             return std::make_unique<NllLoss>(reduction, ignore_index);
                                           }};

const OpRegistration cross_entropy_registration{
    "cross_entropy", [](const Attributes& a) {
      const Reduction reduction = reduction_from_name(a.get<std::string>("reduction", "mean"));
      return std::make_unique<CrossEntropy>(CrossEntropyOptions{reduction, a.get<double>("label_smoothing", 0.0),
                                                                a.get<int64_t>("ignore_index", kIgnoreIndex)});
    }};

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options) {
  check_smoothing(options);
  if (is_floating_point(target.dtype()) && target.shape() == logits.shape())
    return cross_entropy_of_probabilities(logits, target, options);
  if (options.weight.defined()) return weighted_cross_entropy(logits, target, options);
  return apply(std::make_unique<CrossEntropy>(options), {in_full_precision(logits), target});
}

Tensor nll_loss(const Tensor& log_probabilities, const Tensor& target, Reduction reduction, int64_t ignore_index) {
  return apply(std::make_unique<NllLoss>(reduction, ignore_index), {in_full_precision(log_probabilities), target});
}

}  // namespace thimble
