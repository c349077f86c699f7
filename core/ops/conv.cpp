#include <algorithm>

#include <thimble/core/kernels/image/bf16_conv2d.h>
#include <thimble/core/kernels/image/conv2d.h>
#include <thimble/core/kernels/image/conv2d_weights.h>
#include <thimble/core/ops/channel_sums.h>
#include <thimble/core/ops/channels_last.h>
#include <thimble/core/ops/conv.h>
#include <thimble/core/ops/conv_geometry.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/float_operands.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

namespace {

using kernels::Conv2dGeometry;

Shape out_shape(const Conv2dGeometry& g) { return {g.batch, g.out_channels, g.out_height, g.out_width}; }

// [groups, out, taps, in]; depthwise [taps, channels].
NDArray for_input_gradient(const NDArray& weight, const Conv2dGeometry& g) {
  return grouped_weight(weight, g.groups, g.depthwise() ? Shape{3, 4, 2, 0, 1} : Shape{0, 1, 3, 4, 2});
}

// [groups, out, taps, in], in bfloat16.
NDArray bf16_forward_weight(const NDArray& weight, const Conv2dGeometry& g) {
  return grouped_weight(weight.to(DType::bfloat16), g.groups, {0, 1, 3, 4, 2});
}

// Of the convolution of input_gradient_geometry(): [groups, in, taps in reverse order, out].
NDArray bf16_reversed_weight(const NDArray& weight, const Conv2dGeometry& g) {
  const NDArray reversed = weight.to(DType::bfloat16)
                               .slice(2, g.kernel_height - 1, -g.kernel_height - 1, -1)
                               .slice(3, g.kernel_width - 1, -g.kernel_width - 1, -1);
  return grouped_weight(reversed, g.groups, {0, 2, 3, 4, 1});
}

// compute() of an op on images whose kernels are of float32 alone, for bfloat16: a result of the first input's dtype.
NDArray computed_in_float32(Op& op, std::span<const NDArray> inputs) {
  std::vector<NDArray> wide;
  for (const NDArray& x : inputs) wide.push_back(as_dtype(x, DType::float32));
  return as_dtype(op.compute(wide), inputs[0].dtype());
}

class Conv2d final : public Op {
 public:
  explicit Conv2d(const Conv2dOptions& options) : options_(options) {}

  std::string_view name() const override { return "conv2d"; }
  InputCount num_inputs() const override { return {2, 3}; }
  Attributes attributes() const override {
    Attributes a;
    options_.to_attributes(a);
    return a;
  }

  AutocastRule autocast_rule() const override { return AutocastRule::first_bfloat16; }

  NDArray compute(std::span<const NDArray> inputs) override {
    const bool mixed = is_mixed_precision(inputs);
    mixed ? check_mixed_dtypes(inputs, "conv2d") : check_same_float_dtype(inputs, "conv2d");
    const TrimmedConv2d trimmed(conv2d_geometry("conv2d", inputs[0].shape(), inputs[1].shape(), options_));
    const Conv2dGeometry& g = trimmed.g;
    const bool has_bias = inputs.size() > 2;
    check<ShapeError>(!has_bias || inputs[2].shape() == Shape{g.out_channels}, "conv2d: bias must be [", g.out_channels,
                      "], got ", has_bias ? inputs[2].shape() : Shape());
    if (mixed && g.depthwise()) {
      NDArray y = computed_in_float32(*this, inputs);
      copied_ = {};  // of float32
      return y;
    }
    if (mixed) return mixed_conv2d(trimmed, inputs);
    const NDArray x = to_channels_last(inputs[0]), weight = conv2d_forward_weight(trimmed.of(inputs[1]), g);
    if (!x.shares_memory_with(inputs[0])) copied_ = x;
    const NDArray bias = has_bias ? inputs[2].contiguous() : NDArray();
    NDArray y = channels_last_array(out_shape(g), x.dtype());
    dispatch_float(x.dtype(), "conv2d", [&](auto tag) {
      using T = typename decltype(tag)::type;
      kernels::conv2d(kernels::forward_frames(g), x.data<T>(), weight.data<T>(), y.data<T>(),
                      kernels::bias_epilogue(has_bias ? bias.data<T>() : nullptr));
    });
    return from_channels_last(y);
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override;

 private:
  static NDArray mixed_conv2d(const TrimmedConv2d& trimmed, std::span<const NDArray> inputs) {
    const Conv2dGeometry& g = trimmed.g;
    const NDArray x = to_channels_last(inputs[0]), weight = bf16_forward_weight(trimmed.of(inputs[1]), g);
    const NDArray bias = inputs.size() > 2 ? inputs[2].to(DType::float32).contiguous() : NDArray();
    NDArray y = channels_last_array(out_shape(g), x.dtype());
    kernels::bf16_conv2d(g, x.data<bfloat16>(), weight.data<bfloat16>(), bias.defined() ? bias.data<float>() : nullptr,
                         y.data<bfloat16>());
    return from_channels_last(y);
  }

  Conv2dOptions options_;
  NDArray
      copied_;  // the input channels-last, if it lay otherwise, as images from outside do: gradient() reads it again
};

// Whether an image may have so many rows or columns left behind its last window.
bool is_output_padding(int64_t rest, int64_t stride, int64_t dilation) {
  return rest >= 0 && rest < std::max(stride, dilation);
}

// How much of the padded image lies behind its last window, if so many fit into it: the output padding of the
// transposed convolution.
Pair output_padding_of(const Shape& image, Pair kernel, Pair windows, const Conv2dOptions& o) {
  auto rest = [](int64_t size, int64_t padding, int64_t taps, int64_t dilation, int64_t count, int64_t stride) {
    return size + padding - dilation * (taps - 1) - 1 - (count - 1) * stride;
  };
  return {
      rest(image[2], o.padding.top + o.padding.bottom, kernel.height, o.dilation.height, windows.height,
           o.stride.height),
      rest(image[3], o.padding.left + o.padding.right, kernel.width, o.dilation.width, windows.width, o.stride.width)};
}

class ConvTranspose2d final : public Op {
 public:
  ConvTranspose2d(const Conv2dOptions& options, Pair output_padding)
      : options_(options), output_padding_(output_padding) {}

  std::string_view name() const override { return "conv_transpose2d"; }
  InputCount num_inputs() const override { return {2, 2}; }
  Attributes attributes() const override {
    Attributes a{{"output_padding", output_padding_.to_vector()}};
    options_.to_attributes(a);
    return a;
  }

  AutocastRule autocast_rule() const override { return AutocastRule::first_bfloat16; }

  NDArray compute(std::span<const NDArray> inputs) override {
    const bool mixed = is_mixed_precision(inputs);
    mixed ? check_mixed_dtypes(inputs, "conv_transpose2d") : check_same_float_dtype(inputs, "conv_transpose2d");
    const TrimmedConv2d trimmed(geometry_of(inputs[0].shape(), inputs[1].shape()));
    const Conv2dGeometry& g = trimmed.g;
    const bool is_convolution = g.stride_height == 1 && g.stride_width == 1 && !g.depthwise();
    if (mixed && g.depthwise()) return computed_in_float32(*this, inputs);
    if (mixed) return mixed_input_gradient(g, inputs[0], trimmed.of(inputs[1]), is_convolution);
    const NDArray taps = trimmed.of(inputs[1]), dy = to_channels_last(inputs[0]);
    const NDArray weight = is_convolution ? conv2d_input_gradient_weight(taps, g) : for_input_gradient(taps, g);
    NDArray dx = channels_last_array({g.batch, g.in_channels, g.in_height, g.in_width}, dy.dtype());
    dispatch_float(dy.dtype(), "conv_transpose2d", [&](auto tag) {
      using T = typename decltype(tag)::type;
      if (is_convolution)
        kernels::conv2d<T>(forward_frames(input_gradient_geometry(g)), dy.data<T>(), weight.data<T>(), dx.data<T>());
      else
        kernels::conv2d_input_gradient(g, dy.data<T>(), weight.data<T>(), dx.data<T>());
    });
    return from_channels_last(dx);
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override;

 private:
  static NDArray mixed_input_gradient(const Conv2dGeometry& g, const NDArray& out_grad, const NDArray& weight,
                                      bool is_convolution) {
    const NDArray dy = to_channels_last(out_grad),
                  taps = is_convolution ? bf16_reversed_weight(weight, g) : bf16_forward_weight(weight, g);
    NDArray dx = channels_last_array({g.batch, g.in_channels, g.in_height, g.in_width}, dy.dtype());
    const auto *from = dy.data<bfloat16>(), *w = taps.data<bfloat16>();
    if (is_convolution)
      kernels::bf16_conv2d(input_gradient_geometry(g), from, w, nullptr, dx.data<bfloat16>());
    else
      kernels::bf16_conv2d_input_gradient(g, from, w, dx.data<bfloat16>());
    return from_channels_last(dx);
  }

  // That of the convolution whose transpose this is, with as many windows as x has pixels: behind an output padding of
  // the stride or more the image has room for others, which nothing was computed from.
  Conv2dGeometry geometry_of(const Shape& x, const Shape& weight) const {
    const Conv2dOptions& o = options_;
    constexpr const char* kOp = "conv_transpose2d";
    check_conv2d_options(kOp, o);
    check<ShapeError>(x.ndim() == 4, kOp, ": input must be [batch, channels, height, width], got ", x);
    check<ShapeError>(x.numel() > 0, kOp, ": the batch or the image is empty (input ", x, ")");
    check<ShapeError>(weight.ndim() == 4 && weight.numel() > 0, kOp,
                      ": weight must be [in, out / groups, kernel height, kernel width], got ", weight);
    check_conv2d_sizes(kOp, x, weight);
    check<ShapeError>(x[1] == weight[0], kOp, ": weight ", weight, " expects ", weight[0], " input channels, got ",
                      x[1], " (input ", x, ")");
    const int64_t out_h = out_size(x[2], weight[2], o.stride.height, o.dilation.height, o.padding.top, o.padding.bottom,
                                   output_padding_.height);
    const int64_t out_w = out_size(x[3], weight[3], o.stride.width, o.dilation.width, o.padding.left, o.padding.right,
                                   output_padding_.width);
    check<ShapeError>(out_h > 0 && out_w > 0, kOp, ": the output of input ", x, " and weight ", weight, " would be ",
                      out_h, "x", out_w);
    Conv2dGeometry g = conv2d_geometry(kOp, {x[0], weight[1] * o.groups, out_h, out_w}, weight, o);
    g.out_height = x[2];
    g.out_width = x[3];
    return g;
  }

  static int64_t out_size(int64_t size, int64_t taps, int64_t stride, int64_t dilation, int64_t before, int64_t after,
                          int64_t extra) {
    check<ValueError>(is_output_padding(extra, stride, dilation), "conv_transpose2d: output_padding ", extra,
                      " must be at least 0 and less than stride ", stride, " or dilation ", dilation);
    return (size - 1) * stride - before - after + dilation * (taps - 1) + extra + 1;
  }

  Conv2dOptions options_;
  Pair output_padding_;
};

// The weight's gradient: inputs are the image and the output's gradient, which may lack the last windows, as that of a
// transposed convolution does (see ConvTranspose2d::geometry_of).
class Conv2dWeight final : public Op {
 public:
  Conv2dWeight(const Conv2dOptions& options, Pair kernel) : options_(options), kernel_(kernel) {}

  std::string_view name() const override { return "conv2d_weight"; }
  InputCount num_inputs() const override { return {2, 2}; }
  Attributes attributes() const override {
    Attributes a{{"kernel_size", kernel_.to_vector()}};
    options_.to_attributes(a);
    return a;
  }

  AutocastRule autocast_rule() const override { return AutocastRule::first_bfloat16; }

  // Of bfloat16, the result is float32.
  NDArray compute(std::span<const NDArray> inputs) override {
    const bool mixed = is_mixed_precision(inputs);
    mixed ? check_mixed_dtypes(inputs, "conv2d_weight") : check_same_float_dtype(inputs, "conv2d_weight");
    const Shape &image = inputs[0].shape(), &grad = inputs[1].shape();
    check<ShapeError>(image.ndim() == 4 && grad.ndim() == 4 && options_.groups > 0 && image[1] % options_.groups == 0,
                      "conv2d_weight: input ", image, " and gradient ", grad, " do not fit ", options_.groups,
                      " groups");
    const Shape shape{grad[1], image[1] / options_.groups, kernel_.height, kernel_.width};
    check_conv2d_sizes("conv2d_weight", image, grad);
    Conv2dGeometry full = conv2d_geometry("conv2d_weight", image, shape, options_);
    const Pair rest = output_padding_of(image, kernel_, {grad[2], grad[3]}, options_);
    check<ShapeError>(grad[0] == image[0] && grad[2] > 0 && grad[3] > 0 &&
                          is_output_padding(rest.height, options_.stride.height, options_.dilation.height) &&
                          is_output_padding(rest.width, options_.stride.width, options_.dilation.width),
                      "conv2d_weight: gradient ", grad, ", expected ", out_shape(full));
    full.out_height = grad[2];
    full.out_width = grad[3];
    const TrimmedConv2d trimmed(full);
    const Conv2dGeometry& g = trimmed.g;
    return mixed && !g.depthwise() ? mixed_gradient(trimmed, shape, inputs) : own_gradient(trimmed, shape, inputs);
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override;

 private:
  static NDArray own_gradient(const TrimmedConv2d& trimmed, const Shape& shape, std::span<const NDArray> inputs) {
    const Conv2dGeometry& g = trimmed.g;
    const DType dtype = is_mixed_precision(inputs) ? DType::float32 : inputs[0].dtype();
    const NDArray x = to_channels_last(as_dtype(inputs[0], dtype)), dy = to_channels_last(as_dtype(inputs[1], dtype));
    NDArray packed({g.groups, g.columns(), g.group_out()}, dtype), weight(shape, dtype);
    dispatch_float(dtype, "conv2d_weight", [&](auto tag) {
      using T = typename decltype(tag)::type;
      kernels::conv2d_weight_gradient(g, x.data<T>(), dy.data<T>(), packed.data<T>());
      kernels::unpack_conv2d_weight(g, packed.data<T>(), trimmed.first, shape[2], shape[3], weight.data<T>());
    });
    return weight;
  }

  static NDArray mixed_gradient(const TrimmedConv2d& trimmed, const Shape& shape, std::span<const NDArray> inputs) {
    const Conv2dGeometry& g = trimmed.g;
    const NDArray x = to_channels_last(inputs[0]), dy = to_channels_last(as_dtype(inputs[1], DType::bfloat16));
    NDArray weight({g.out_channels, g.kernel_height, g.kernel_width, g.group_in()});
    kernels::bf16_conv2d_weight_gradient(g, x.data<bfloat16>(), dy.data<bfloat16>(), weight.data<float>());
    const NDArray gradient = weight.permute({0, 3, 1, 2}).contiguous();
    if (gradient.shape() == shape) return gradient;
    NDArray padded = NDArray::zeros(shape);
    trimmed.of(padded).copy_from(gradient);
    return padded;
  }

  Conv2dOptions options_;
  Pair kernel_;
};

Tensor conv2d_weight(const Tensor& x, const Tensor& out_grad, const Tensor& weight, const Conv2dOptions& options) {
  return apply(std::make_unique<Conv2dWeight>(options, Pair(weight.shape(2), weight.shape(3))), {x, out_grad});
}

// The gradient of the image: a transposed convolution.
Tensor conv2d_input(const Tensor& out_grad, const Tensor& weight, const Tensor& x, const Conv2dOptions& o) {
  const Pair rest =
      output_padding_of(x.shape(), {weight.shape(2), weight.shape(3)}, {out_grad.shape(2), out_grad.shape(3)}, o);
  return apply(std::make_unique<ConvTranspose2d>(o, rest), {out_grad, weight});
}

// The first windows of a convolution, as many as `like` has: the transpose of a transposed convolution.
Tensor conv2d_like(const Tensor& x, const Tensor& weight, const Tensor& like, const Conv2dOptions& o) {
  Tensor y = conv2d(x, weight, {}, o);
  for (int axis : {2, 3})
    if (y.shape(axis) != like.shape(axis)) y = slice(y, axis, 0, like.shape(axis));
  return y;
}

std::vector<Tensor> Conv2d::gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) {
  const Tensor &x = inputs[0], &weight = inputs[1];
  std::vector<Tensor> grads(inputs.size());
  if (x.requires_grad()) grads[0] = conv2d_input(out_grad, weight, x, options_);
  if (weight.requires_grad()) {
    const bool reads_copy = copied_.defined() && !grad_enabled();
    if (reads_copy) x.data();  // an error, as without the copy, if it was changed since
    const Tensor& images = reads_copy ? Tensor(from_channels_last(copied_)) : x;
    grads[1] = cast(conv2d_weight(images, out_grad, weight, options_), weight.dtype());
  }
  if (inputs.size() > 2 && inputs[2].requires_grad()) grads[2] = bias_gradient(out_grad, inputs[2]);
  return grads;
}

std::vector<Tensor> ConvTranspose2d::gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) {
  const Tensor &x = inputs[0], &weight = inputs[1];
  std::vector<Tensor> grads(2);
  if (x.requires_grad()) grads[0] = conv2d_like(out_grad, weight, x, options_);
  if (weight.requires_grad()) grads[1] = cast(conv2d_weight(out_grad, x, weight, options_), weight.dtype());
  return grads;
}

std::vector<Tensor> Conv2dWeight::gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) {
  const Tensor &x = inputs[0], &y_grad = inputs[1];
  std::vector<Tensor> grads(2);
  if (x.requires_grad()) grads[0] = conv2d_input(y_grad, out_grad, x, options_);
  if (y_grad.requires_grad()) grads[1] = conv2d_like(x, out_grad, y_grad, options_);
  return grads;
}

const OpRegistration conv_registrations[] = {
    {"conv2d", [](const Attributes& a) { return std::make_unique<Conv2d>(Conv2dOptions::from_attributes(a)); }},
    {"conv_transpose2d",
     [](const Attributes& a) {
       return std::make_unique<ConvTranspose2d>(Conv2dOptions::from_attributes(a), Pair::from(a, "output_padding"));
     }},
    {"conv2d_weight",
     [](const Attributes& a) {
       return std::make_unique<Conv2dWeight>(Conv2dOptions::from_attributes(a), Pair::from(a, "kernel_size"));
     }},
};

}  // namespace

void Conv2dOptions::to_attributes(Attributes& a) const {
  a.set("stride", stride.to_vector());
  a.set("padding", std::vector<int64_t>{padding.top, padding.left, padding.bottom, padding.right});
  a.set("dilation", dilation.to_vector());
  a.set("groups", groups);
}

Conv2dOptions Conv2dOptions::from_attributes(const Attributes& a) {
  const auto p = a.get<std::vector<int64_t>>("padding");
  check<FormatError>(p.size() == 4, "attribute 'padding' has ", p.size(), " numbers, expected 4");
  return {.stride = Pair::from(a, "stride"),
          .padding = {p[0], p[1], p[2], p[3]},
          .dilation = Pair::from(a, "dilation"),
          .groups = a.get<int64_t>("groups")};
}

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options) {
  if (!bias.defined()) return apply(std::make_unique<Conv2d>(options), {x, weight});
  return apply(std::make_unique<Conv2d>(options), {x, weight, bias});
}

Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv1dOptions& o) {
  check<ShapeError>(x.ndim() == 3 && weight.ndim() == 3, "conv1d: expects input [batch, channels, length] and weight ",
                    "[out, in / groups, kernel], got ", x.shape(), " and ", weight.shape());
  const Conv2dOptions options{
      .stride = {1, o.stride}, .padding = {0, o.padding}, .dilation = {1, o.dilation}, .groups = o.groups};
  return squeeze(conv2d(unsqueeze(x, 2), unsqueeze(weight, 2), bias, options), 2);
}

Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                        Pair output_padding) {
  const Tensor y = apply(std::make_unique<ConvTranspose2d>(options, output_padding), {x, weight});
  if (!bias.defined()) return y;
  check<ShapeError>(bias.shape() == Shape{y.shape(1)}, "conv_transpose2d: bias must be [", y.shape(1), "], got ",
                    bias.shape());
  return cast(y + reshape(bias, {y.shape(1), 1, 1}), y.dtype());
}

}  // namespace thimble
