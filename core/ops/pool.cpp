#include <algorithm>

#include <thimble/core/kernels/image/pool.h>
#include <thimble/core/ops/channels_last.h>
#include <thimble/core/ops/float_operands.h>
#include <thimble/core/ops/pool.h>
#include <thimble/core/ops/pool_geometry.h>
#include <thimble/core/ops/window_sums.h>

namespace thimble {

namespace {

using kernels::AveragePoolGeometry;
using kernels::Conv2dGeometry;
using kernels::PoolAxis;

void check_pool_dtype(std::string_view op, DType dtype) {
  check<DTypeError>(carries_gradients(dtype) || dtype == DType::uint8, op,
                    ": expects float32, float64, bfloat16 or uint8, got ", dtype);
}

bool counts_padding(const AveragePoolGeometry& g) {
  for (const PoolAxis* axis : {&g.height, &g.width})
    for (const PoolAxis::Range& range : axis->outputs)
      if (range.count != range.end - range.begin) return true;
  return false;
}

DType winner_dtype(const Conv2dGeometry& g) { return g.taps() <= 256 ? DType::uint8 : DType::int32; }

// What the kernels get for images: of bfloat16, float32. The result is rounded as_dtype() of the image.
NDArray pool_operand(const NDArray& x) {
  return to_channels_last(x.dtype() == DType::bfloat16 ? as_dtype(x, DType::float32) : x);
}

// Calls f with the tag of an image's element type and that of winners.
template <typename F>
void dispatch_pool(const Conv2dGeometry& g, DType dtype, std::string_view op, F&& f) {
  dispatch_float(dtype, op, [&](auto tag) {
    if (winner_dtype(g) == DType::uint8)
      f(tag, TypeTag<uint8_t>{});
    else
      f(tag, TypeTag<int32_t>{});
  });
}

// Of a pooled image the elements that won: linear in the image, given the winners (as the kernels want them). Neither
// this nor its transpose is registered: they trust their winners, and are applied by gradients only.
class MaxPool2dGather final : public Op {
 public:
  explicit MaxPool2dGather(const Pool2d& pool) : pool_(pool) {}
  std::string_view name() const override { return "max_pool2d_gather"; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  InputCount num_inputs() const override { return {2, 2}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const Conv2dGeometry g = pool_geometry(name(), inputs[0].shape(), pool_);
    const NDArray x = pool_operand(inputs[0]), winners = inputs[1];
    NDArray y = channels_last_array(pooled_shape(g), x.dtype());
    dispatch_pool(g, x.dtype(), name(), [&](auto tag, auto index) {
      using T = typename decltype(tag)::type;
      using Index = typename decltype(index)::type;
      kernels::max_pool2d_gather(g, x.data<T>(), winners.data<Index>(), y.data<T>());
    });
    return as_dtype(from_channels_last(y), inputs[0].dtype());
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override;

 private:
  Pool2d pool_;
};

// The transpose of that.
class MaxPool2dBackward final : public Op {
 public:
  MaxPool2dBackward(const Pool2d& pool, const Shape& shape) : pool_(pool), shape_(shape) {}
  std::string_view name() const override { return "max_pool2d_backward"; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  InputCount num_inputs() const override { return {2, 2}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const Conv2dGeometry g = pool_geometry(name(), shape_, pool_);
    check<ShapeError>(inputs[0].shape() == pooled_shape(g), name(), ": gradient ", inputs[0].shape(), ", expected ",
                      pooled_shape(g));
    const NDArray dy = pool_operand(inputs[0]), winners = inputs[1];
    NDArray dx = channels_last_array(unpooled_shape(g), dy.dtype());
    dispatch_pool(g, dy.dtype(), name(), [&](auto tag, auto index) {
      using T = typename decltype(tag)::type;
      using Index = typename decltype(index)::type;
      kernels::max_pool2d_backward(g, dy.data<T>(), winners.data<Index>(), dx.data<T>());
    });
    return as_dtype(from_channels_last(dx), inputs[0].dtype());
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    return {apply(std::make_unique<MaxPool2dGather>(pool_), {out_grad, inputs[1]}), {}};
  }

 private:
  Pool2d pool_;
  Shape shape_;
};

std::vector<Tensor> MaxPool2dGather::gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) {
  return {apply(std::make_unique<MaxPool2dBackward>(pool_, inputs[0].shape()), {out_grad, inputs[1]}), {}};
}

class MaxPool2d final : public Op {
 public:
  explicit MaxPool2d(const Pool2d& pool) : pool_(pool) {}
  explicit MaxPool2d(const Attributes& a) : pool_(Pool2d::from(a)) {}
  std::string_view name() const override { return "max_pool2d"; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  Attributes attributes() const override {
    Attributes a;
    pool_.to_attributes(a);
    return a;
  }
  NDArray compute(std::span<const NDArray> inputs) override {
    const Conv2dGeometry g = pool_geometry(name(), inputs[0].shape(), pool_);
    check_pool_dtype(name(), inputs[0].dtype());
    const NDArray x = pool_operand(inputs[0]);
    NDArray y = channels_last_array(pooled_shape(g), x.dtype());
    // For the gradient, if there may be one.
    if (grad_enabled() && is_differentiable(y.dtype())) winners_ = NDArray(y.shape(), winner_dtype(g));
    run(g, x, y, winners_);
    return as_dtype(from_channels_last(y), inputs[0].dtype());
  }
  bool compute_into(std::span<const NDArray> inputs, NDArray& out) const override {
    NDArray y = to_channels_last(out), winners;
    if (!y.shares_memory_with(out) || y.dtype() == DType::bfloat16) return false;
    run(pool_geometry(name(), inputs[0].shape(), pool_), to_channels_last(inputs[0]), y, winners);
    return true;
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    return {apply(std::make_unique<MaxPool2dBackward>(pool_, inputs[0].shape()), {out_grad, Tensor(winners_)})};
  }

 private:
  // Of channels-last arrays; winners may be undefined.
  static void run(const Conv2dGeometry& g, const NDArray& x, NDArray& y, NDArray& winners) {
    if (x.dtype() == DType::uint8) return kernels::max_pool2d(g, x.data<uint8_t>(), y.data<uint8_t>());
    dispatch_pool(g, x.dtype(), "max_pool2d", [&](auto tag, auto index) {
      using T = typename decltype(tag)::type;
      using Index = typename decltype(index)::type;
      kernels::max_pool2d(g, x.data<T>(), y.data<T>(), winners.defined() ? winners.data<Index>() : nullptr);
    });
  }

  Pool2d pool_;
  NDArray winners_;
};

// Average pooling is a linear map A; the gradient of A is its transpose, whose gradient is A. Derived classes say which
// windows A averages over, throwing ShapeError for an image that does not fit.
class AveragePool : public Op {
 public:
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const AveragePoolGeometry g = geometry_of(inputs[0].shape());
    check_pool_dtype(name(), inputs[0].dtype());
    check<DTypeError>(inputs[0].dtype() != DType::uint8 || !counts_padding(g), name(),
                      ": of uint8, windows must not count padding");
    const NDArray x = pool_operand(inputs[0]);
    NDArray y = channels_last_array({g.batch, g.channels, g.height.out_size(), g.width.out_size()}, x.dtype());
    run(g, x, y);
    return as_dtype(from_channels_last(y), inputs[0].dtype());
  }
  bool compute_into(std::span<const NDArray> inputs, NDArray& out) const override {
    NDArray y = to_channels_last(out);
    if (!y.shares_memory_with(out) || y.dtype() == DType::bfloat16) return false;
    run(geometry_of(inputs[0].shape()), to_channels_last(inputs[0]), y);
    return true;
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override;

  virtual AveragePoolGeometry geometry_of(const Shape& x) const = 0;
  virtual std::shared_ptr<const AveragePool> copy() const = 0;

 private:
  // Of channels-last arrays.
  static void run(const AveragePoolGeometry& g, const NDArray& x, NDArray& y) {
    if (x.dtype() == DType::uint8) return kernels::average_pool2d(g, x.data<uint8_t>(), y.data<uint8_t>());
    dispatch_float(x.dtype(), "avg_pool2d", [&](auto tag) {
      using T = typename decltype(tag)::type;
      kernels::average_pool2d(g, x.data<T>(), y.data<T>());
    });
  }
};

class AveragePoolBackward final : public Op {
 public:
  AveragePoolBackward(std::shared_ptr<const AveragePool> forward, const Shape& shape)
      : forward_(std::move(forward)), shape_(shape) {}
  std::string_view name() const override { return "avg_pool2d_backward"; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const AveragePoolGeometry g = forward_->geometry_of(shape_);
    const NDArray dy = pool_operand(inputs[0]);
    NDArray dx = channels_last_array(shape_, dy.dtype());
    dispatch_float(dy.dtype(), name(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      kernels::average_pool2d_backward(g, dy.data<T>(), dx.data<T>());
    });
    return as_dtype(from_channels_last(dx), inputs[0].dtype());
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor>, const Tensor&) override {
    return {apply(make_op(forward_->name(), forward_->attributes()), {out_grad})};
  }

 private:
  std::shared_ptr<const AveragePool> forward_;
  Shape shape_;
};

std::vector<Tensor> AveragePool::gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) {
  return {apply(std::make_unique<AveragePoolBackward>(copy(), inputs[0].shape()), {out_grad})};
}

class AvgPool2d final : public AveragePool {
 public:
  AvgPool2d(const Pool2d& pool, bool count_include_pad) : pool_(pool), count_include_pad_(count_include_pad) {}
  std::string_view name() const override { return "avg_pool2d"; }
  Attributes attributes() const override {
    Attributes a{{"count_include_pad", count_include_pad_}};
    pool_.to_attributes(a);
    return a;
  }

 private:
  AveragePoolGeometry geometry_of(const Shape& x) const override {
    const Conv2dGeometry g = pool_geometry(name(), x, pool_);
    const PaddingAfter after = padding_after(x, pool_);
    return {g.batch, g.in_channels,
            axis(g.in_height, g.out_height, g.kernel_height, g.stride_height, g.pad_top, after.bottom),
            axis(g.in_width, g.out_width, g.kernel_width, g.stride_width, g.pad_left, after.right)};
  }
  std::shared_ptr<const AveragePool> copy() const override { return std::make_shared<AvgPool2d>(*this); }

  PoolAxis axis(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t before, int64_t after) const {
    PoolAxis axis{in, {}};
    for (int64_t i = 0; i < out; ++i) {
      const int64_t start = i * stride - before, padded_end = std::min(start + kernel, in + after);
      const int64_t begin = std::max<int64_t>(start, 0), end = std::min(start + kernel, in);
      axis.outputs.push_back({begin, end, count_include_pad_ ? padded_end - start : end - begin});
    }
    return axis;
  }

  Pool2d pool_;
  bool count_include_pad_;
};

class AdaptiveAvgPool2d final : public AveragePool {
 public:
  explicit AdaptiveAvgPool2d(Pair size) : size_(size) {}
  explicit AdaptiveAvgPool2d(const Attributes& a) : size_(Pair::from(a, "output_size")) {}
  std::string_view name() const override { return "adaptive_avg_pool2d"; }
  Attributes attributes() const override { return {{"output_size", size_.to_vector()}}; }

 private:
  AveragePoolGeometry geometry_of(const Shape& x) const override {
    check_pool_image(name(), x);
    check<ShapeError>(x[2] > 0 && x[3] > 0, name(), ": the image is empty (input ", x, ")");
    constexpr int64_t kMost = int64_t{1} << 20;
    check<ValueError>(size_.height > 0 && size_.width > 0 && size_.height <= kMost && size_.width <= kMost, name(),
                      ": output size ", size_.height, "x", size_.width, " must be 1 to ", kMost);
    return {x[0], x[1], axis(x[2], size_.height), axis(x[3], size_.width)};
  }
  std::shared_ptr<const AveragePool> copy() const override { return std::make_shared<AdaptiveAvgPool2d>(*this); }

  static PoolAxis axis(int64_t in, int64_t out) {
    PoolAxis axis{in, {}};
    for (int64_t i = 0; i < out; ++i) {
      // i * in / out, rounded; without the whole product, which may be too large.
      const int64_t whole = in / out, rest = in % out;
      const int64_t begin = i * whole + i * rest / out, end = (i + 1) * whole + ((i + 1) * rest + out - 1) / out;
      axis.outputs.push_back({begin, end, end - begin});
    }
    return axis;
  }

  Pair size_;
};

template <typename T>
std::unique_ptr<Op> make_pool(const Attributes& a) {
  return std::make_unique<T>(a);
}

std::unique_ptr<Op> make_avg_pool2d(const Attributes& a) {
  const Pool2d pool = Pool2d::from(a);
  const auto counts_padding = a.get<bool>("count_include_pad");
  if (pool.dilation != Pair(1)) return make_dilated_avg_pool2d(pool, counts_padding);
  return std::make_unique<AvgPool2d>(pool, counts_padding);
}

const OpRegistration pool_registrations[] = {
    {"max_pool2d", make_pool<MaxPool2d>},
    {"avg_pool2d", make_avg_pool2d},
    {"adaptive_avg_pool2d", make_pool<AdaptiveAvgPool2d>},
};

}  // namespace

static void check_at_most_half(std::string_view op, Pair kernel, Pair padding, Pair dilation) {
  check_at_most_half(op, kernel.height, padding.height, dilation.height);
  check_at_most_half(op, kernel.width, padding.width, dilation.width);
}

Tensor max_pool2d(const Tensor& x, Pair kernel, const MaxPool2dOptions& o) {
  check_at_most_half("max_pool2d", kernel, o.padding, o.dilation);
  const Pool2d pool{kernel, o.stride.value_or(kernel), Padding(o.padding.height, o.padding.width), o.dilation,
                    o.ceil_mode};
  return apply(std::make_unique<MaxPool2d>(pool), {x});
}

Tensor avg_pool2d(const Tensor& x, Pair kernel, const AvgPool2dOptions& o) {
  check_at_most_half("avg_pool2d", kernel, o.padding, 1);
  const Pool2d pool{kernel, o.stride.value_or(kernel), Padding(o.padding.height, o.padding.width), 1, o.ceil_mode};
  return apply(std::make_unique<AvgPool2d>(pool, o.count_include_pad), {x});
}

Tensor adaptive_avg_pool2d(const Tensor& x, Pair output_size) {
  return apply(std::make_unique<AdaptiveAvgPool2d>(output_size), {x});
}

}  // namespace thimble
