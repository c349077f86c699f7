#include <thimble/core/kernels/reduce/softmax.h>
#include <thimble/core/ops/channels_last.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/loss.h>
#include <thimble/core/ops/loss_reduction.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

namespace {

// The classes of `target` as contiguous int64, checked against x [n, classes, d...].
NDArray checked_target(const NDArray& x, const NDArray& target, std::string_view op) {
  check<ShapeError>(x.ndim() >= 2, op, ": expects input [n, classes, ...], got ", x.shape());
  Shape expected = x.shape();
  expected.erase(1);
  check<ShapeError>(target.shape() == expected, op, ": input ", x.shape(), " expects target ", expected, ", got ",
                    target.shape());
  const DType dtype = target.dtype();
  check<DTypeError>(dtype == DType::int64 || dtype == DType::int32 || dtype == DType::uint8, op,
                    ": target must be int64, int32 or uint8, got ", dtype);
  const NDArray indices = target.to(DType::int64).contiguous();
  for (int64_t i = 0; i < indices.numel(); ++i) {
    const int64_t c = indices.data<int64_t>()[i];
    check<ValueError>(c >= 0 && c < x.shape(1), op, ": target ", i, " is class ", c, ", but there are ", x.shape(1),
                      " classes");
  }
  return indices;
}

// The distribution over classes that each target stands for, in x's shape: 1 - smoothing on the class, and
// smoothing / classes everywhere.
Tensor target_distribution(const Tensor& x, const NDArray& target, double smoothing) {
  const int64_t classes = x.shape(1);
  NDArray rows = NDArray::full({target.numel(), classes}, smoothing / static_cast<double>(classes), x.dtype());
  dispatch_float(x.dtype(), "target", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t* t = target.data<int64_t>();
    for (int64_t r = 0; r < target.numel(); ++r) rows.data<T>()[r * classes + t[r]] += static_cast<T>(1 - smoothing);
  });
  Shape shape = target.shape();
  shape.push_back(classes);
  return from_channels_last(rows.reshape(shape));
}

// The gradient of each loss, shaped so that it broadcasts over the classes.
Tensor gradient_per_class(const Tensor& out_grad, Reduction reduction, int64_t count) {
  const Tensor g = gradient_of_losses(out_grad, reduction, count);
  return reduction == Reduction::none ? unsqueeze(g, 1) : g;
}

class NllLoss final : public Op {
 public:
  explicit NllLoss(Reduction reduction) : reduction_(reduction) {}

  std::string_view name() const override { return "nll_loss"; }
  InputCount num_inputs() const override { return {2, 2}; }
  Attributes attributes() const override { return {{"reduction", std::string(thimble::name(reduction_))}}; }

  NDArray compute(std::span<const NDArray> inputs) override {
    target_ = checked_target(inputs[0], inputs[1], name());
    const NDArray x = to_channels_last(inputs[0]);
    NDArray losses(target_.shape(), x.dtype());
    dispatch_float(x.dtype(), name(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const int64_t* t = target_.data<int64_t>();
      for (int64_t r = 0; r < losses.numel(); ++r) losses.data<T>()[r] = -x.data<T>()[r * x.shape(-1) + t[r]];
    });
    return reduce_losses(losses, reduction_);
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    return {target_distribution(inputs[0], target_, 0) * gradient_per_class(-out_grad, reduction_, target_.numel()),
            Tensor()};
  }

 private:
  Reduction reduction_;
  NDArray target_;
};

class CrossEntropy final : public Op {
 public:
  explicit CrossEntropy(const CrossEntropyOptions& options) : options_(options) {
    check<ValueError>(options.label_smoothing >= 0 && options.label_smoothing <= 1,
                      "cross_entropy: label_smoothing must lie in [0, 1], got ", options.label_smoothing);
  }

  std::string_view name() const override { return "cross_entropy"; }
  InputCount num_inputs() const override { return {2, 2}; }
  Attributes attributes() const override {
    return {{"reduction", std::string(thimble::name(options_.reduction))},
            {"label_smoothing", options_.label_smoothing}};
  }

  NDArray compute(std::span<const NDArray> inputs) override {
    target_ = checked_target(inputs[0], inputs[1], name());
    const NDArray x = to_channels_last(inputs[0]);
    NDArray losses(target_.shape(), x.dtype());
    dispatch_float(x.dtype(), name(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      statistics_ = NDArray({target_.numel(), 2}, x.dtype());
      kernels::cross_entropy<T>(x.data<T>(), target_.data<int64_t>(), target_.numel(), x.shape(-1),
                                static_cast<T>(options_.label_smoothing), losses.data<T>(), statistics<T>());
    });
    return reduce_losses(losses, options_.reduction);
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    if (!grad_enabled()) return {fused_gradient(out_grad.data(), inputs[0].data()), Tensor()};
    const Tensor expected = target_distribution(inputs[0], target_, options_.label_smoothing);
    return {(softmax(inputs[0], 1) - expected) * gradient_per_class(out_grad, options_.reduction, target_.numel()),
            Tensor()};
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
      kernels::cross_entropy_backward<T>(x.data<T>(), target_.data<int64_t>(), statistics<T>(), target_.numel(),
                                         x.shape(-1), static_cast<T>(options_.label_smoothing), g.data<T>(),
                                         options_.reduction == Reduction::none ? 1 : 0,
                                         mean ? T{1} / static_cast<T>(target_.numel()) : T{1}, out.data<T>());
    });
    return from_channels_last(out);
  }

  CrossEntropyOptions options_;
  NDArray target_;      // int64, contiguous
  NDArray statistics_;  // a SoftmaxStatistics for each target
};

const OpRegistration nll_loss_registration{
    "nll_loss", [](const Attributes& a) {
      return std::make_unique<NllLoss>(reduction_from_name(a.get<std::string>("reduction", "mean")));
    }};

const OpRegistration cross_entropy_registration{
    "cross_entropy", [](const Attributes& a) {
      const Reduction reduction = reduction_from_name(a.get<std::string>("reduction", "mean"));
      return std::make_unique<CrossEntropy>(CrossEntropyOptions{reduction, a.get<double>("label_smoothing", 0.0)});
    }};

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options) {
  return apply(std::make_unique<CrossEntropy>(options), {logits, target});
}

Tensor nll_loss(const Tensor& log_probabilities, const Tensor& target, Reduction reduction) {
  return apply(std::make_unique<NllLoss>(reduction), {log_probabilities, target});
}

}  // namespace thimble
