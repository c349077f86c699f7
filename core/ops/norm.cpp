#include <cmath>
#include <memory>
#include <vector>

#include <thimble/core/kernels/image/batch_norm.h>
#include <thimble/core/ops/cast.h>
#include <thimble/core/ops/channel_sums.h>
#include <thimble/core/ops/channels_last.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/inverse_std.h>
#include <thimble/core/ops/norm.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

namespace {

int64_t values_per_channel(const Shape& x) { return x.numel() / x[1]; }

// What the statistics are taken over.
Shape batch_axes(const Shape& x) {
  Shape axes{0};
  for (int d = 2; d < x.ndim(); ++d) axes.push_back(d);
  return axes;
}

// [channels] as it broadcasts with x.
Tensor per_channel(const Tensor& v, const Tensor& x) {
  Shape shape{v.numel()};
  for (int d = 2; d < x.ndim(); ++d) shape.push_back(1);
  return reshape(v, shape);
}

void check_eps(const char* op, double eps) {
  check<ValueError>(eps > 0 && std::isfinite(eps), op, ": eps ", eps, " must be above 0");
}

// Images of bfloat16 go with numbers for each channel of float32.
DType channel_dtype(DType images) { return images == DType::bfloat16 ? DType::float32 : images; }

// Calls f with the tags of the images' elements and of the numbers for each channel.
template <typename F>
void dispatch_images(DType dtype, F&& f) {
  if (dtype == DType::bfloat16) return f(TypeTag<bfloat16>{}, TypeTag<float>{});
  dispatch_float(dtype, "batch_norm", [&](auto tag) { f(tag, tag); });
}

// The other inputs are one number for each channel.
void check_inputs(std::string_view op, std::span<const NDArray> inputs) {
  const NDArray& x = inputs[0];
  check<ShapeError>(x.ndim() >= 2 && x.ndim() <= 5, op, ": input must be [batch, channels] and up to three more, got ",
                    x.shape());
  check<ShapeError>(x.numel() > 0, op, ": the batch is empty (input ", x.shape(), ")");
  const DType dtype = channel_dtype(x.dtype());
  check_differentiable(dtype, op);
  for (const NDArray& v : inputs.subspan(1)) {
    check<ShapeError>(v.shape() == Shape{x.shape(1)}, op, ": expects [", x.shape(1), "] for input ", x.shape(),
                      ", got ", v.shape());
    check<DTypeError>(v.dtype() == dtype, op, ": dtypes ", x.dtype(), " and ", v.dtype(), " differ");
  }
}

// The numbers for each channel of (x - mean) * scale + shift.
template <typename T>
struct Channels {
  NDArray memory;
  T *mean, *scale, *shift;

  explicit Channels(int64_t n)
      : memory({3, n}, dtype_of<T>), mean(memory.data<T>()), scale(mean + n), shift(scale + n) {}
  kernels::ChannelMap<T> map(bool relu) const { return {mean, scale, shift, relu}; }
};

// The batch's statistics, which op, gradient and running averages share.
struct BatchStatistics {
  std::vector<double> mean, variance;
};

// In training: inputs are x and, perhaps, weight and bias.
class BatchNormTrain final : public Op {
 public:
  BatchNormTrain(double eps, bool relu, std::shared_ptr<BatchStatistics> statistics)
      : eps_(eps), relu_(relu), statistics_(std::move(statistics)) {
    check_eps("batch_norm", eps);
  }

  std::string_view name() const override { return "batch_norm_train"; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  InputCount num_inputs() const override { return {1, 3}; }
  Attributes attributes() const override { return {{"eps", eps_}, {"relu", relu_}}; }

  NDArray compute(std::span<const NDArray> inputs) override {
    check<ShapeError>(inputs.size() != 2, "batch_norm: has a weight but no bias");
    check_inputs("batch_norm", inputs);
    const Shape& shape = inputs[0].shape();
    check<ValueError>(values_per_channel(shape) > 1,
                      "batch_norm: expected more than 1 value per channel when training, got input ", shape);
    const NDArray x = to_channels_last(inputs[0]);
    NDArray y(x.shape(), x.dtype());
    const int64_t channels = shape[1], rows = values_per_channel(shape);
    statistics_->mean.resize(static_cast<size_t>(channels));
    statistics_->variance.resize(static_cast<size_t>(channels));
    dispatch_images(x.dtype(), [&](auto tag, auto channel_tag) {
      using S = typename decltype(tag)::type;
      using T = typename decltype(channel_tag)::type;
      kernels::channel_moments(x.data<S>(), shape[0], rows / shape[0], channels, statistics_->mean.data(),
                               statistics_->variance.data());
      kernels::map_channels(x.data<S>(), rows, channels, channels_of<T>(inputs).map(relu_), y.data<S>());
    });
    return from_channels_last(y);
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    return grad_enabled() ? composed_gradient(out_grad, inputs) : fused_gradient(out_grad, inputs);
  }

 private:
  double inverse_std(int64_t channel) const {
    return 1 / std::sqrt(statistics_->variance[static_cast<size_t>(channel)] + eps_);
  }

  template <typename T>
  Channels<T> channels_of(std::span<const NDArray> inputs) const {
    const int64_t n = inputs[0].shape(1);
    Channels<T> c(n);
    NDArray weight, bias;
    if (inputs.size() > 1) {
      weight = inputs[1].contiguous();
      bias = inputs[2].contiguous();
    }
    for (int64_t i = 0; i < n; ++i) {
      c.mean[i] = static_cast<T>(statistics_->mean[static_cast<size_t>(i)]);
      const double w = weight.defined() ? static_cast<double>(weight.data<T>()[i]) : 1;
      c.scale[i] = static_cast<T>(w * inverse_std(i));
      c.shift[i] = bias.defined() ? bias.data<T>()[i] : T{0};
    }
    return c;
  }

  // One pass over x and out_grad for the sums, another for the input's gradient.
  std::vector<Tensor> fused_gradient(const Tensor& out_grad, std::span<const Tensor> inputs) const {
    std::vector<NDArray> arrays;
    for (size_t i = 0; i < inputs.size(); ++i)  // the bias matters to relu's mask alone
      arrays.push_back(i == 2 && !relu_ ? NDArray() : inputs[i].data());
    const NDArray x = to_channels_last(arrays[0]), dy = to_channels_last(out_grad.data());
    const int64_t channels = arrays[0].shape(1), rows = values_per_channel(arrays[0].shape());
    std::vector<Tensor> grads(inputs.size());
    const DType channel_type = channel_dtype(x.dtype());
    dispatch_images(x.dtype(), [&](auto tag, auto channel_tag) {
      using S = typename decltype(tag)::type;
      using T = typename decltype(channel_tag)::type;
      const Channels<T> c = channels_of<T>(arrays);
      const kernels::ChannelMap<T> map = c.map(relu_);
      NDArray memory({2, channels}, DType::float64);
      double *sums = memory.data<double>(), *product_sums = sums + channels;
      const int64_t samples = x.shape(0);
      kernels::batch_norm_gradient_sums(x.data<S>(), dy.data<S>(), samples, rows / samples, channels, map, sums,
                                        product_sums);
      if (inputs.size() > 1) {
        NDArray weight_grad({channels}, channel_type), bias_grad({channels}, channel_type);
        for (int64_t i = 0; i < channels; ++i) {
          weight_grad.data<T>()[i] = static_cast<T>(product_sums[i] * inverse_std(i));
          bias_grad.data<T>()[i] = static_cast<T>(sums[i]);
        }
        grads[1] = weight_grad;
        grads[2] = bias_grad;
      }
      if (inputs[0].requires_grad()) {
        // The parts of the gradient that reach x through mean and variance.
        NDArray parts({2, channels}, channel_type);
        T *offset = parts.data<T>(), *slope = offset + channels;
        for (int64_t i = 0; i < channels; ++i) {
          offset[i] = static_cast<T>(sums[i] / static_cast<double>(rows));
          slope[i] = static_cast<T>(product_sums[i] / static_cast<double>(rows) * inverse_std(i) * inverse_std(i));
        }
        NDArray dx(x.shape(), x.dtype());
        kernels::batch_norm_input_gradient(x.data<S>(), dy.data<S>(), rows, channels, map, offset, slope, dx.data<S>());
        grads[0] = from_channels_last(dx);
      }
    });
    return grads;
  }

  // The same of ops, for gradients that are differentiated again.
  std::vector<Tensor> composed_gradient(const Tensor& out_grad, std::span<const Tensor> inputs) const {
    const DType dtype = channel_dtype(inputs[0].dtype());
    const Tensor x = cast(inputs[0], dtype), grad = cast(out_grad, dtype);
    const Shape axes = batch_axes(x.shape());
    const Tensor centred = x - mean(x, axes, true);
    const Tensor inverse = thimble::inverse_std(centred, axes, eps_);
    const Tensor normalized = centred * inverse;
    const bool affine = inputs.size() > 1;
    Tensor dz = grad;
    if (relu_) {
      const Tensor z = affine ? normalized * per_channel(inputs[1], x) + per_channel(inputs[2], x) : normalized;
      const Tensor zero = Tensor::scalar(0, x.dtype());
      dz = where(greater_equal(zero, z), zero, grad);
    }
    std::vector<Tensor> grads(inputs.size());
    const Tensor spread = dz - mean(dz, axes, true) - normalized * mean(dz * normalized, axes, true);
    grads[0] = cast(spread * (affine ? inverse * per_channel(inputs[1], x) : inverse), inputs[0].dtype());
    if (affine) {
      grads[1] = sum_per_channel(dz * normalized);
      grads[2] = sum_per_channel(dz);
    }
    return grads;
  }

  double eps_;
  bool relu_;
  std::shared_ptr<BatchStatistics> statistics_;
};

// With running statistics: inputs are x, mean, variance and, perhaps, weight and bias.
class BatchNorm final : public Op {
 public:
  explicit BatchNorm(double eps) : eps_(eps) { check_eps("batch_norm", eps); }

  std::string_view name() const override { return "batch_norm"; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  InputCount num_inputs() const override { return {3, 5}; }
  Attributes attributes() const override { return {{"eps", eps_}}; }

  NDArray compute(std::span<const NDArray> inputs) override {
    check<ShapeError>(inputs.size() != 4, "batch_norm: has a weight but no bias");
    check_inputs("batch_norm", inputs);
    const NDArray x = to_channels_last(inputs[0]);
    NDArray y(x.shape(), x.dtype());
    const int64_t channels = inputs[0].shape(1), rows = values_per_channel(inputs[0].shape());
    dispatch_images(x.dtype(), [&](auto tag, auto channel_tag) {
      using S = typename decltype(tag)::type;
      using T = typename decltype(channel_tag)::type;
      std::vector<NDArray> dense;
      for (const NDArray& v : inputs.subspan(1)) dense.push_back(v.contiguous());
      const bool affine = dense.size() > 2;
      Channels<T> c(channels);
      for (int64_t i = 0; i < channels; ++i) {
        c.mean[i] = dense[0].data<T>()[i];
        const double weight = affine ? static_cast<double>(dense[2].data<T>()[i]) : 1;
        c.scale[i] = static_cast<T>(weight / std::sqrt(static_cast<double>(dense[1].data<T>()[i]) + eps_));
        c.shift[i] = affine ? dense[3].data<T>()[i] : T{0};
      }
      kernels::map_channels(x.data<S>(), rows, channels, c.map(false), y.data<S>());
    });
    return from_channels_last(y);
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const DType dtype = inputs[1].dtype();  // of images of bfloat16, too, all is float32
    const Tensor x = cast(inputs[0], dtype), g = cast(out_grad, dtype);
    const Tensor inverse = per_channel(1.0 / sqrt(inputs[2] + eps_), x);
    std::vector<Tensor> grads(inputs.size());
    const bool affine = inputs.size() > 3;
    if (inputs[0].requires_grad())
      grads[0] = cast(g * (affine ? inverse * per_channel(inputs[3], x) : inverse), inputs[0].dtype());
    if (affine && inputs[3].requires_grad())
      grads[3] = sum_per_channel(g * ((x - per_channel(inputs[1], x)) * inverse));
    if (affine && inputs[4].requires_grad()) grads[4] = sum_per_channel(g);
    return grads;
  }

 private:
  double eps_;
};

const OpRegistration norm_registrations[] = {
    {"batch_norm_train",
     [](const Attributes& a) {
       return std::make_unique<BatchNormTrain>(a.get<double>("eps"), a.get<bool>("relu"),
                                               std::make_shared<BatchStatistics>());
     }},
    {"batch_norm", [](const Attributes& a) { return std::make_unique<BatchNorm>(a.get<double>("eps")); }},
};

// A new array: the old one may be a file's, or a copy's too.
NDArray moved_towards(const Tensor& running, const std::vector<double>& batch, double factor, double momentum) {
  NDArray moved({running.numel()}, running.dtype());
  const NDArray before = running.data().contiguous();
  dispatch_float(running.dtype(), "batch_norm", [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (size_t i = 0; i < batch.size(); ++i)
      moved.data<T>()[i] =
          static_cast<T>((1 - momentum) * static_cast<double>(before.data<T>()[i]) + momentum * factor * batch[i]);
  });
  return moved;
}

}  // namespace

Tensor batch_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                  const Tensor& running_var, const BatchNormOptions& o) {
  check<ShapeError>(weight.defined() == bias.defined(), "batch_norm: has a ", weight.defined() ? "weight" : "bias",
                    " but no ", weight.defined() ? "bias" : "weight");
  check<ShapeError>(running_mean.defined() == running_var.defined(),
                    "batch_norm: has one of running mean and variance only");
  check<ValueError>(o.momentum >= 0 && o.momentum <= 1, "batch_norm: momentum ", o.momentum, " is not in [0, 1]");
  std::vector<Tensor> inputs{x};
  if (!o.training) {
    check<ValueError>(running_mean.defined(), "batch_norm: has no running statistics, and is not training");
    inputs.push_back(running_mean);
    inputs.push_back(running_var);
  }
  if (weight.defined()) {
    inputs.push_back(weight);
    inputs.push_back(bias);
  }
  if (!o.training) {
    const Tensor y = thimble::apply(std::make_unique<BatchNorm>(o.eps), std::move(inputs));
    return o.relu ? relu(y) : y;
  }
  if (running_mean.defined()) {
    const NDArray arrays[] = {x.data(), running_mean.data(), running_var.data()};
    check_inputs("batch_norm", arrays);
  }
  const auto statistics = std::make_shared<BatchStatistics>();
  Tensor y = thimble::apply(std::make_unique<BatchNormTrain>(o.eps, o.relu, statistics), std::move(inputs));
  if (running_mean.defined()) {
    const auto n = static_cast<double>(values_per_channel(x.shape()));
    const NDArray new_mean = moved_towards(running_mean, statistics->mean, 1, o.momentum);
    const NDArray new_var = moved_towards(running_var, statistics->variance, n / (n - 1), o.momentum);
    running_mean.set_data(new_mean);  // both or, where memory ended above, none
    running_var.set_data(new_var);
  }
  return y;
}

}  // namespace thimble
