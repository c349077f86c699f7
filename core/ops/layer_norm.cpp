// Normalization of rows: each sample, or group of a sample's channels, by itself.
#include <cmath>

#include <thimble/core/kernels/reduce/normalize.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/inverse_std.h>
#include <thimble/core/ops/norm.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

namespace {

// Derived classes say what the rows are: how many an input has.
class RowNorm : public Op {
 public:
  explicit RowNorm(double eps) : eps_(eps) {}

  NDArray compute(std::span<const NDArray> inputs) override {
    const int64_t rows = rows_of(inputs[0].shape());
    const NDArray x = inputs[0].contiguous();
    NDArray y(x.shape(), x.dtype());
    inverse_std_ = NDArray({rows, 1}, x.dtype());
    dispatch_float(x.dtype(), name(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      if (x.numel() > 0)
        kernels::normalize_rows<T>(x.data<T>(), rows, x.numel() / rows, eps_, y.data<T>(), inverse_std_.data<T>());
    });
    return y;
  }

  bool compute_into(std::span<const NDArray> inputs, NDArray& out) const override {
    const NDArray& x = inputs[0];
    if (!x.is_contiguous() || !out.is_contiguous()) return false;
    const int64_t rows = rows_of(x.shape());
    dispatch_float(x.dtype(), name(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      if (x.numel() > 0) kernels::normalize_rows<T>(x.data<T>(), rows, x.numel() / rows, eps_, out.data<T>(), nullptr);
    });
    return true;
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor& output) override {
    return {grad_enabled() ? composed_gradient(out_grad, inputs[0], output) : fused_gradient(out_grad, output)};
  }

 protected:
  double eps() const { return eps_; }

 private:
  virtual int64_t rows_of(const Shape& x) const = 0;

  Tensor fused_gradient(const Tensor& out_grad, const Tensor& output) const {
    const NDArray y = output.data().contiguous(), dy = out_grad.data().contiguous();
    NDArray dx(y.shape(), y.dtype());
    dispatch_float(y.dtype(), name(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const int64_t rows = inverse_std_.shape(0);
      if (y.numel() > 0)
        kernels::normalize_rows_backward(y.data<T>(), dy.data<T>(), inverse_std_.data<T>(), rows, y.numel() / rows,
                                         dx.data<T>());
    });
    return dx;
  }

  // The same of ops, for gradients that are differentiated again.
  Tensor composed_gradient(const Tensor& out_grad, const Tensor& input, const Tensor& output) const {
    const int64_t rows = inverse_std_.shape(0);
    const Shape shape{rows, rows == 0 ? 0 : input.numel() / rows};
    const Tensor x = reshape(input, shape), y = reshape(output, shape), dy = reshape(out_grad, shape);
    const Tensor inverse = inverse_std(x - mean(x, {1}, true), {1}, eps_);
    const Tensor dx = (dy - mean(dy, {1}, true) - y * mean(dy * y, {1}, true)) * inverse;
    return reshape(dx, input.shape());
  }

  double eps_;
  NDArray inverse_std_;  // [rows, 1]
};

class LayerNorm final : public RowNorm {
 public:
  LayerNorm(int64_t dims, double eps) : RowNorm(eps), dims_(dims) {}
  std::string_view name() const override { return "layer_norm"; }
  Attributes attributes() const override { return {{"dims", dims_}, {"eps", eps()}}; }

 private:
  int64_t rows_of(const Shape& x) const override {
    check<ShapeError>(dims_ >= 1 && dims_ <= x.ndim(), name(), ": input ", x, " does not have the ", dims_,
                      " dimensions to normalize over");
    int64_t rows = 1;
    for (int d = 0; d < x.ndim() - static_cast<int>(dims_); ++d) rows *= x[d];
    return rows;
  }

  int64_t dims_;
};

class GroupNorm final : public RowNorm {
 public:
  GroupNorm(int64_t groups, double eps) : RowNorm(eps), groups_(groups) {
    check<ValueError>(groups > 0, "group_norm: groups ", groups, " must be at least 1");
    check<ValueError>(eps > 0 && std::isfinite(eps), "group_norm: eps ", eps, " must be above 0");
  }
  std::string_view name() const override { return "group_norm"; }
  Attributes attributes() const override { return {{"groups", groups_}, {"eps", eps()}}; }

 private:
  int64_t rows_of(const Shape& x) const override {
    check<ShapeError>(x.ndim() >= 2 && x.ndim() <= 5 && x.numel() > 0, name(), ": input must be [batch, channels] and ",
                      "up to three more, not empty, got ", x);
    check<ShapeError>(x[1] % groups_ == 0, name(), ": ", groups_, " groups do not divide ", x[1], " channels (input ",
                      x, ")");
    return x[0] * groups_;
  }

  int64_t groups_;
};

const OpRegistration layer_norm_registrations[] = {
    {"layer_norm",
     [](const Attributes& a) { return std::make_unique<LayerNorm>(a.get<int64_t>("dims"), a.get<double>("eps")); }},
    {"group_norm",
     [](const Attributes& a) { return std::make_unique<GroupNorm>(a.get<int64_t>("groups"), a.get<double>("eps")); }},
};

}  // namespace

Tensor layer_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& weight, const Tensor& bias,
                  double eps) {
  const int dims = normalized_shape.ndim(), first = x.ndim() - dims;
  bool fits = dims > 0 && first >= 0;
  for (int i = 0; i < dims && fits; ++i) fits = x.shape(first + i) == normalized_shape[i];
  check<ShapeError>(fits, "layer_norm: input ", x.shape(), " does not end in ", normalized_shape);
  for (const Tensor& v : {weight, bias})
    check<ShapeError>(!v.defined() || v.shape() == normalized_shape, "layer_norm: weight and bias must be ",
                      normalized_shape, ", got ", v.defined() ? v.shape() : Shape());
  Tensor y = apply(std::make_unique<LayerNorm>(dims, eps), {x});
  if (weight.defined()) y = y * weight;
  return bias.defined() ? y + bias : y;
}

Tensor group_norm(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias, double eps) {
  Tensor y = apply(std::make_unique<GroupNorm>(groups, eps), {x});
  const int64_t channels = x.shape(1);
  Shape per_channel{channels};
  for (int d = 2; d < x.ndim(); ++d) per_channel.push_back(1);
  for (const Tensor& v : {weight, bias})
    check<ShapeError>(!v.defined() || v.shape() == Shape{channels}, "group_norm: weight and bias must be [", channels,
                      "], got ", v.defined() ? v.shape() : Shape());
  if (weight.defined()) y = y * reshape(weight, per_channel);
  return bias.defined() ? y + reshape(bias, per_channel) : y;
}

}  // namespace thimble
