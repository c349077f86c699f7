#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/core/kernels/reduce/fold.h>
#include <thimble/core/kernels/reduce/reduce.h>
#include <thimble/core/ops/cast.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

namespace {

Shape keepdim_shape(const Shape& shape, const Shape& axes) {
  Shape out = shape;
  for (int64_t axis : axes) out[static_cast<int>(axis)] = 1;
  return out;
}

Shape reduced_shape(const Shape& shape, const Shape& axes, bool keepdim) {
  Shape out = keepdim_shape(shape, axes);
  if (!keepdim)
    for (int i = axes.ndim() - 1; i >= 0; --i) out.erase(static_cast<int>(axes[i]));
  return out;
}

int64_t reduced_count(const Shape& shape, const Shape& axes) {
  int64_t n = 1;
  for (int64_t axis : axes) n *= shape[static_cast<int>(axis)];
  return n;
}

// Calls f(value) on each element of a contiguous array, and stores what it returns.
template <typename F>
void transform(NDArray& array, F&& f) {
  dispatch_float(array.dtype(), "reduce", [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* x = array.data<T>();
    for (int64_t i = 0; i < array.numel(); ++i) x[i] = f(x[i]);
  });
}

// What all reductions over axes have in common. normalized() axes are those of one input. No axes mean all, or, with
// "noop_without_axes", none, as ONNX has it.
class AxisReduction : public Op {
 public:
  AxisReduction(const Shape& axes, bool keepdim) : axes_(axes), keepdim_(keepdim) {}
  explicit AxisReduction(const Attributes& attributes)
      : axes_(attributes.get<std::vector<int64_t>>("axes", {})),
        keepdim_(attributes.get<bool>("keepdim", false)),
        noop_without_axes_(attributes.get<bool>("noop_without_axes", false)) {}

  Attributes attributes() const override {
    Attributes all{{"axes", axes_.to_vector()}, {"keepdim", keepdim_}};
    if (noop_without_axes_) all.set("noop_without_axes", true);
    return all;
  }

 protected:
  Shape normalized(const Shape& shape) const {
    if (noop_without_axes_ && axes_.empty()) return {};
    return normalize_axes(axes_, shape.ndim(), std::string(name()).c_str());
  }

  // The output array, not set yet.
  NDArray output_for(const NDArray& x) const {
    if (!kernels::is_integer(x.dtype()) && x.dtype() != DType::bool_) check_differentiable(x.dtype(), name());
    return NDArray(reduced_shape(x.shape(), normalized(x.shape()), keepdim_), x.dtype());
  }

  // A tensor of the output's shape, with the reduced dimensions back at size 1 so that it broadcasts with x.
  Tensor with_kept_dims(const Tensor& reduced, const Shape& x_shape) const {
    const Shape shape = keepdim_shape(x_shape, normalized(x_shape));
    return reduced.shape() == shape ? reduced : reshape(reduced, shape);
  }

  // The same, repeated to x's shape.
  Tensor spread(const Tensor& reduced, const Shape& x_shape) const {
    return broadcast_to(with_kept_dims(reduced, x_shape), x_shape);
  }

  Shape axes_;
  bool keepdim_;
  bool noop_without_axes_ = false;
};

class Sum final : public AxisReduction {
 public:
  using AxisReduction::AxisReduction;
  std::string_view name() const override { return "sum"; }

  NDArray compute(std::span<const NDArray> inputs) override {
    NDArray out = output_for(inputs[0]);
    const Shape axes = normalized(inputs[0].shape());
    if (is_differentiable(out.dtype()))
      kernels::reduce_sum(inputs[0], axes, out);
    else
      kernels::fold(kernels::IntegerBinary::add, inputs[0], axes, out);
    return out;
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    return {spread(out_grad, inputs[0].shape())};
  }
};

class Mean final : public AxisReduction {
 public:
  using AxisReduction::AxisReduction;
  std::string_view name() const override { return "mean"; }

  NDArray compute(std::span<const NDArray> inputs) override {
    NDArray out = output_for(inputs[0]);
    const Shape axes = normalized(inputs[0].shape());
    const int64_t n = reduced_count(inputs[0].shape(), axes);
    if (kernels::is_integer(out.dtype())) return integer_mean(inputs[0], axes, n, out);
    kernels::reduce_sum(inputs[0], axes, out);
    transform(out, [n](auto sum) { return sum / static_cast<decltype(sum)>(n); });
    return out;
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const Shape& shape = inputs[0].shape();
    return {spread(out_grad / static_cast<double>(reduced_count(shape, normalized(shape))), shape)};
  }

 private:
  // Truncated; the sum does not wrap around.
  static NDArray integer_mean(const NDArray& x, const Shape& axes, int64_t n, const NDArray& out) {
    const DType wide = out.dtype() == DType::uint64 ? DType::uint64 : DType::int64;
    NDArray sums(out.shape(), wide);
    kernels::fold(kernels::IntegerBinary::add, x.to(wide), axes, sums);
    kernels::integer_binary(kernels::IntegerBinary::div, sums, NDArray::from_vector<int64_t>({n}, {}), sums);
    return sums.to(out.dtype());
  }
};

class Prod final : public AxisReduction {
 public:
  using AxisReduction::AxisReduction;
  std::string_view name() const override { return "prod"; }

  NDArray compute(std::span<const NDArray> inputs) override {
    NDArray out = output_for(inputs[0]);
    kernels::fold(kernels::IntegerBinary::mul, inputs[0], normalized(inputs[0].shape()), out);
    return out;
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const Shape &shape = inputs[0].shape(), axes = normalized(shape);
    Shape order, back = Shape::filled(shape.ndim(), 0);  // the reduced axes last
    for (const bool reduced : {false, true})
      for (int d = 0; d < shape.ndim(); ++d)
        if ((std::ranges::find(axes, d) != axes.end()) == reduced) order.push_back(d);
    Shape moved;
    for (int i = 0; i < order.ndim(); ++i) {
      moved.push_back(shape[static_cast<int>(order[i])]);
      back[static_cast<int>(order[i])] = i;
    }
    const int64_t rows = out_grad.numel(), columns = reduced_count(shape, axes);
    const Tensor x = reshape(permute(inputs[0], order), {rows, columns});
    return {permute(reshape(gradient_of_rows(x, reshape(out_grad, {rows, 1})), moved), back)};
  }

 private:
  // As of a tree of products of two. Quotients by the elements would be wrong where one is 0.
  static Tensor gradient_of_rows(const Tensor& x, const Tensor& g) {
    const int64_t n = x.shape(1), half = n / 2;
    if (n == 0) return Tensor(NDArray::zeros(x.shape(), x.dtype()));
    if (n == 1) return g;
    const Tensor a = slice(x, 1, 0, half), b = slice(x, 1, half, 2 * half), rest = slice(x, 1, 2 * half, n);
    const Tensor above = gradient_of_rows(concat({a * b, rest}, 1), g), to_products = slice(above, 1, 0, half);
    return concat({to_products * b, to_products * a, slice(above, 1, half, above.shape(1))}, 1);
  }
};

/// With "of_nothing" the extremum of no elements is the least or greatest number of the dtype, -inf or +inf, as in
/// ONNX.
class Extremum : public AxisReduction {
 public:
  using AxisReduction::AxisReduction;
  explicit Extremum(const Attributes& a) : AxisReduction(a), of_nothing_(a.get<bool>("of_nothing", false)) {}

  Attributes attributes() const override {
    Attributes all = AxisReduction::attributes();
    if (of_nothing_) all.set("of_nothing", true);
    return all;
  }

  NDArray compute(std::span<const NDArray> inputs) override {
    NDArray out = output_for(inputs[0]);
    const Shape axes = normalized(inputs[0].shape());
    check<ShapeError>(of_nothing_ || reduced_count(inputs[0].shape(), axes) > 0, name(), ": nothing to reduce over in ",
                      inputs[0].shape(), " along axes ", axes);
    reduce(inputs[0], axes, out);
    return out;
  }

  // Which elements win is locally constant, so their shares are constants also for the gradient's gradient.
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor& output) override {
    if (normalized(inputs[0].shape()).empty()) return {out_grad};
    const Tensor x = inputs[0].detach();
    const Tensor winners = equal(x, with_kept_dims(output.detach(), x.shape())).data().to(x.dtype());
    const Tensor shares = winners / sum(winners, normalized(x.shape()), true);
    return {with_kept_dims(out_grad, x.shape()) * shares};
  }

 private:
  virtual void reduce(const NDArray& x, const Shape& axes, NDArray& out) const = 0;

  bool of_nothing_ = false;
};

class Max final : public Extremum {
 public:
  using Extremum::Extremum;
  std::string_view name() const override { return "max"; }

 private:
  void reduce(const NDArray& x, const Shape& axes, NDArray& out) const override {
    if (is_differentiable(out.dtype()))
      kernels::reduce_max(x, axes, out);
    else
      kernels::fold(kernels::IntegerBinary::maximum, x, axes, out);
  }
};

class Min final : public Extremum {
 public:
  using Extremum::Extremum;
  std::string_view name() const override { return "min"; }

 private:
  void reduce(const NDArray& x, const Shape& axes, NDArray& out) const override {
    if (is_differentiable(out.dtype()))
      kernels::reduce_min(x, axes, out);
    else
      kernels::fold(kernels::IntegerBinary::minimum, x, axes, out);
  }
};

class Var final : public AxisReduction {
 public:
  Var(const Shape& axes, bool keepdim, int64_t correction) : AxisReduction(axes, keepdim), correction_(correction) {}
  explicit Var(const Attributes& attributes)
      : AxisReduction(attributes), correction_(attributes.get<int64_t>("correction", 1)) {}

  std::string_view name() const override { return "var"; }

  Attributes attributes() const override {
    Attributes all = AxisReduction::attributes();
    all.set("correction", correction_);
    return all;
  }

  // In two passes, since the difference of mean square and squared mean loses everything to rounding far from 0.
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray& x = inputs[0];
    check_differentiable(x.dtype(), name());
    NDArray out = output_for(x), mean(out.shape(), x.dtype());
    const Shape axes = normalized(x.shape());
    kernels::reduce_sum(x, axes, mean);
    transform(mean, [n = reduced_count(x.shape(), axes)](auto sum) { return sum / static_cast<decltype(sum)>(n); });
    kernels::reduce_squared_deviations(x, axes, mean, out);
    transform(out, [d = divisor(x.shape())](auto sum) { return sum / static_cast<decltype(sum)>(d); });
    return out;
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const Tensor& x = inputs[0];
    const Tensor deviation = x - mean(x, normalized(x.shape()), true);
    return {with_kept_dims(out_grad * (2 / divisor(x.shape())), x.shape()) * deviation};
  }

 private:
  double divisor(const Shape& shape) const {
    return static_cast<double>(std::max<int64_t>(0, reduced_count(shape, normalized(shape)) - correction_));
  }

  int64_t correction_;
};

class LogSumExp final : public AxisReduction {
 public:
  using AxisReduction::AxisReduction;
  std::string_view name() const override { return "logsumexp"; }

  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray& x = inputs[0];
    check_differentiable(x.dtype(), name());
    NDArray out = output_for(x), largest(out.shape(), x.dtype());
    const Shape axes = normalized(x.shape());
    kernels::reduce_max(x, axes, largest);
    // An infinite maximum must not be subtracted from itself.
    transform(largest, [](auto max) { return std::isfinite(max) ? max : 0; });
    kernels::reduce_exponentials(x, axes, largest, out);
    dispatch_float(x.dtype(), name(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      for (int64_t i = 0; i < out.numel(); ++i) out.data<T>()[i] = std::log(out.data<T>()[i]) + largest.data<T>()[i];
    });
    return out;
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor& output) override {
    const Tensor& x = inputs[0];
    const Tensor nothing = Tensor::scalar(-std::numeric_limits<double>::infinity(), x.dtype());
    // Over nothing but -inf the result is -inf, and exp(-inf - -inf) would be NaN where no element has any influence.
    const Tensor safe = where(equal(output, nothing), Tensor::scalar(0, x.dtype()), output);
    return {with_kept_dims(out_grad, x.shape()) * exp(x - with_kept_dims(safe, x.shape()))};
  }
};

class SumTo final : public Op {
 public:
  explicit SumTo(const Shape& shape) : shape_(shape) {}

  std::string_view name() const override { return "sum_to"; }
  Attributes attributes() const override { return {{"shape", shape_.to_vector()}}; }

  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray& x = inputs[0];
    check<ShapeError>(shape_.ndim() <= x.ndim() && broadcast_shapes(shape_, x.shape(), "sum_to") == x.shape(),
                      "sum_to: ", shape_, " does not broadcast to ", x.shape());
    NDArray out(shape_, x.dtype());
    kernels::reduce_sum_over_batch(x, broadcast_axes(x.shape()), out);
    return out;
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    return {broadcast_to(out_grad, inputs[0].shape())};
  }

 private:
  // The axes of `full` along which shape_ was repeated.
  Shape broadcast_axes(const Shape& full) const {
    const int extra = full.ndim() - shape_.ndim();
    Shape axes;
    for (int d = 0; d < full.ndim(); ++d)
      if (d < extra || (shape_[d - extra] == 1 && full[d] != 1)) axes.push_back(d);
    return axes;
  }

  Shape shape_;
};

template <typename T>
std::unique_ptr<Op> from_attributes(const Attributes& attributes) {
  return std::make_unique<T>(attributes);
}

const OpRegistration reduce_registrations[] = {
    {"sum", from_attributes<Sum>},
    {"mean", from_attributes<Mean>},
    {"prod", from_attributes<Prod>},
    {"max", from_attributes<Max>},
    {"min", from_attributes<Min>},
    {"var", from_attributes<Var>},
    {"logsumexp", from_attributes<LogSumExp>},
    {"sum_to", [](const Attributes& a) { return std::make_unique<SumTo>(a.get<std::vector<int64_t>>("shape")); }},
};

}  // namespace

Tensor sum(const Tensor& x, const Shape& axes, bool keepdim) {
  return apply(std::make_unique<Sum>(axes, keepdim), {x});
}

Tensor mean(const Tensor& x, const Shape& axes, bool keepdim) {
  return apply(std::make_unique<Mean>(axes, keepdim), {x});
}

Tensor prod(const Tensor& x, const Shape& axes, bool keepdim) {
  return apply(std::make_unique<Prod>(axes, keepdim), {x});
}

Tensor max(const Tensor& x, const Shape& axes, bool keepdim) {
  return apply(std::make_unique<Max>(axes, keepdim), {x});
}

Tensor min(const Tensor& x, const Shape& axes, bool keepdim) {
  return apply(std::make_unique<Min>(axes, keepdim), {x});
}

Tensor var(const Tensor& x, const Shape& axes, bool keepdim, int64_t correction) {
  return apply(std::make_unique<Var>(axes, keepdim, correction), {x});
}

Tensor logsumexp(const Tensor& x, const Shape& axes, bool keepdim) {
  return apply(std::make_unique<LogSumExp>(axes, keepdim), {x});
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  if (x.dtype() == DType::bfloat16 && x.shape() != shape)
    return cast(sum_to(cast(x, DType::float32), shape), DType::bfloat16);
  return x.shape() == shape ? x : apply(std::make_unique<SumTo>(shape), {x});
}

}  // namespace thimble
