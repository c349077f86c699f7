#include <algorithm>

#include <thimble/core/ops/composed_op.h>
#include <thimble/core/ops/conv.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/pool.h>
#include <thimble/core/ops/shape.h>
#include <thimble/core/ops/window_sums.h>

namespace thimble {

namespace {

using kernels::Conv2dGeometry;

// The zeros around an image that its windows see, those that hang over its end included.
Padding seen_padding(const Conv2dGeometry& g) {
  const auto after = [](int64_t out, int64_t stride, int64_t kernel, int64_t dilation, int64_t size, int64_t before) {
    return std::max<int64_t>(0, (out - 1) * stride + dilation * (kernel - 1) + 1 - size - before);
  };
  return {g.pad_top, g.pad_left,
          after(g.out_height, g.stride_height, g.kernel_height, g.dilation_height, g.in_height, g.pad_top),
          after(g.out_width, g.stride_width, g.kernel_width, g.dilation_width, g.in_width, g.pad_left)};
}

class DilatedAvgPool2d final : public ComposedOp {
 public:
  DilatedAvgPool2d(const Pool2d& pool, bool counts_padding) : pool_(pool), counts_padding_(counts_padding) {}
  std::string_view name() const override { return "avg_pool2d"; }
  Attributes attributes() const override {
    Attributes a{{"count_include_pad", counts_padding_}};
    pool_.to_attributes(a);
    return a;
  }

 private:
  Tensor formula(std::span<const Tensor> inputs) const override {
    const Tensor& x = inputs[0];
    return window_sums(name(), x, pool_) / counts(x);
  }

  // How many elements each window of a plane averages over, [1, 1, h', w'].
  Tensor counts(const Tensor& x) const {
    check_pool_image(name(), x.shape());
    NDArray ones = NDArray::ones({1, 1, x.shape(2), x.shape(3)}, x.dtype());
    if (!counts_padding_) return window_sums(name(), ones, pool_);
    const Conv2dGeometry g = pool_geometry(name(), x.shape(), pool_);
    const PaddingAfter after = padding_after(x.shape(), pool_);
    const Tensor padded = pad(ones, {g.pad_left, after.right, g.pad_top, after.bottom}, 1);
    Pool2d unpadded = pool_;
    unpadded.padding = 0;
    unpadded.auto_pad = AutoPad::none;
    unpadded.ceil_mode = true;  // a window that begins in the padding is dropped below
    const Tensor all = window_sums(name(), padded, unpadded);
    return slice(slice(all, 2, 0, g.out_height), 3, 0, g.out_width);
  }

  Pool2d pool_;
  bool counts_padding_;
};

class LpPool2d final : public ComposedOp {
 public:
  LpPool2d(double p, const Pool2d& pool) : p_(p), pool_(pool) {
    check<ValueError>(p > 0 && p < 1e6, "lp_pool2d: p ", p, " must be above 0");
  }
  std::string_view name() const override { return "lp_pool2d"; }
  Attributes attributes() const override {
    Attributes a{{"p", p_}};
    pool_.to_attributes(a);
    return a;
  }

 private:
  Tensor formula(std::span<const Tensor> inputs) const override {
    const Tensor& x = inputs[0];
    if (p_ == 1) return window_sums(name(), abs(x), pool_);
    if (p_ == 2) return sqrt(window_sums(name(), x * x, pool_));
    return pow(window_sums(name(), pow(abs(x), p_), pool_), 1 / p_);
  }

  double p_;
  Pool2d pool_;
};

const OpRegistration lp_pool2d_registration{
    "lp_pool2d", [](const Attributes& a) { return std::make_unique<LpPool2d>(a.get<double>("p"), Pool2d::from(a)); }};

}  // namespace

// Each channel as an image of its own, under a kernel of ones.
Tensor window_sums(std::string_view op, const Tensor& x, const Pool2d& pool) {
  const Conv2dGeometry g = pool_geometry(op, x.shape(), pool);
  const Tensor planes = reshape(x, {g.batch * g.in_channels, 1, g.in_height, g.in_width});
  const Tensor ones = NDArray::ones({1, 1, g.kernel_height, g.kernel_width}, x.dtype());
  const Tensor sums =
      conv2d(planes, ones, {}, {.stride = pool.stride, .padding = seen_padding(g), .dilation = pool.dilation});
  // Behind the last window there may be room for another, which begins in the padding.
  const Tensor wanted = slice(slice(sums, 2, 0, g.out_height), 3, 0, g.out_width);
  return reshape(wanted, pooled_shape(g));
}

std::unique_ptr<Op> make_dilated_avg_pool2d(const Pool2d& pool, bool counts_padding) {
  return std::make_unique<DilatedAvgPool2d>(pool, counts_padding);
}

Tensor lp_pool2d(const Tensor& x, double p, Pair kernel, const LpPool2dOptions& o) {
  return apply(std::make_unique<LpPool2d>(p, Pool2d{kernel, o.stride.value_or(kernel), 0, 1, o.ceil_mode}), {x});
}

}  // namespace thimble
