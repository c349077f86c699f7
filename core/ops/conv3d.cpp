#include <algorithm>
#include <limits>

#include <thimble/core/kernels/elementwise/elementwise.h>
#include <thimble/core/ops/channel_sums.h>
#include <thimble/core/ops/composed_op.h>
#include <thimble/core/ops/conv.h>
#include <thimble/core/ops/conv3d.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/shape.h>
#include <thimble/core/ops/volumes.h>

namespace thimble {

namespace {

Triple extents_of(const Shape& volume) { return {volume[2], volume[3], volume[4]}; }

// f(size along an axis, ...) for each axis.
template <typename F, typename... Triples>
Triple along_each(F&& f, const Triples&... t) {
  return {f(t.depth...), f(t.height...), f(t.width...)};
}

void check_options(const char* op, const Conv3dOptions& o) {
  check<ValueError>(o.stride.least() > 0, op, ": stride ", o.stride, " must be at least 1");
  check<ValueError>(o.dilation.least() > 0, op, ": dilation ", o.dilation, " must be at least 1");
  check<ValueError>(std::min(o.padding.before.least(), o.padding.after.least()) >= 0, op, ": padding ",
                    o.padding.before, " and ", o.padding.after, " must not be negative");
  check<ValueError>(o.groups > 0, op, ": groups ", o.groups, " must be at least 1");
  constexpr int64_t kMost = int64_t{1} << 31;
  const int64_t most =
      std::max({o.stride.most(), o.dilation.most(), o.padding.before.most(), o.padding.after.most(), o.groups});
  check<ValueError>(most < kMost, op, ": option ", most, " is too large");
}

// What both directions expect of their operands. The weight's axis `in` is that of the input's channels.
void check_operands(const char* op, std::span<const Tensor> inputs, const Conv3dOptions& o, int in) {
  const Tensor &x = inputs[0], &weight = inputs[1];
  check_options(op, o);
  check_volume(op, x.shape());
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  const bool is_weight =
      weight.ndim() == 5 && std::ranges::all_of(weight.shape(), [](int64_t size) { return size > 0 && size <= kMost; });
  check<ShapeError>(is_weight, op, ": weight must be [", in == 0 ? "in, out" : "out, in",
                    " / groups, kernel depth, kernel height, kernel width], got ", weight.shape());
  for (const Tensor& t : inputs)
    check<DTypeError>(is_differentiable(t.dtype()) && t.dtype() == x.dtype(), op,
                      ": expects operands of one dtype, float32 or float64, got ", x.dtype(), " and ", t.dtype());
  check<ShapeError>(weight.shape(0) % o.groups == 0, op, ": ", o.groups, " groups do not divide ", weight.shape(0),
                    " channels (weight ", weight.shape(), ")");
  const int64_t channels = in == 0 ? weight.shape(0) : weight.shape(1) * o.groups;
  check<ShapeError>(x.shape(1) == channels, op, ": weight ", weight.shape(), " expects ", channels,
                    " input channels, got ", x.shape(1), " (input ", x.shape(), ")");
  const int64_t out = in == 0 ? weight.shape(1) * o.groups : weight.shape(0);
  check<ShapeError>(inputs.size() < 3 || inputs[2].shape() == Shape{out}, op, ": bias must be [", out, "], got ",
                    inputs.size() < 3 ? Shape() : inputs[2].shape());
}

// How many windows fit, less one, times the stride, and what is left behind the last.
Triple room_of(const Shape& volume, const Shape& weight, const Conv3dOptions& o) {
  return along_each([](int64_t size, int64_t kernel, int64_t dilation, int64_t before,
                       int64_t after) { return size + before + after - dilation * (kernel - 1) - 1; },
                    extents_of(volume), extents_of(weight), o.dilation, o.padding.before, o.padding.after);
}

Conv2dOptions options_of_images(const Conv3dOptions& o) {
  const Triple &before = o.padding.before, &after = o.padding.after;
  return {.stride = o.stride.plane(),
          .padding = {before.height, before.width, after.height, after.width},
          .dilation = o.dilation.plane(),
          .groups = o.groups};
}

// One plane of the kernel: `count` windows, from `first` on, find a plane of the volume there; the others see padding.
struct Tap {
  int64_t first, count;
  int64_t plane;  // which the first of them sees; the next one sees that a stride behind it
};

Tap tap_of(int64_t t, int64_t planes, int64_t windows, const Conv3dOptions& o) {
  const int64_t stride = o.stride.depth, offset = t * o.dilation.depth - o.padding.before.depth;
  const int64_t first = offset >= 0 ? 0 : (-offset + stride - 1) / stride;
  const int64_t end = offset >= planes ? 0 : (planes - 1 - offset) / stride + 1;
  return {first, std::max<int64_t>(0, std::min(end, windows) - first), first * stride + offset};
}

Tensor weight_of_tap(const Tensor& weight, int64_t t) { return squeeze(slice(weight, 2, t, t + 1), 2); }

// Taps [begin, end) of a kernel of `taps`: others see padding alone, of which a few bytes may ask for any amount.
std::pair<int64_t, int64_t> taps_that_see(int64_t taps, int64_t planes, int64_t windows, const Conv3dOptions& o) {
  const int64_t dilation = o.dilation.depth, front = o.padding.before.depth;
  const int64_t missing = front - (windows - 1) * o.stride.depth;
  const int64_t begin = missing <= 0 ? 0 : (missing + dilation - 1) / dilation;
  return {begin, std::min(taps, (planes - 1 + front) / dilation + 1)};
}

// Adds planes [d, n, h, w, c] to those of `sum` from `first` on, `step` apart.
void add_planes(const NDArray& planes, int64_t first, int64_t step, NDArray& sum) {
  const int64_t count = step == 1 ? planes.shape(0) : 1;  // which lie one behind the other
  for (int64_t i = 0; i < planes.shape(0); i += count) {
    NDArray part = sum.slice(0, first + i * step, first + i * step + count);
    kernels::binary(kernels::Binary::add, part, planes.slice(0, i, i + count), part);
  }
}

// For the sums of an output: its bias, or zeros.
NDArray planes_for(Triple out, int64_t channels, std::span<const Tensor> inputs) {
  NDArray y({out.depth, inputs[0].shape(0), out.height, out.width, channels}, inputs[0].dtype());
  if (inputs.size() > 2)
    y.copy_from(inputs[2].data());
  else
    y.fill(0);
  return y;
}

// The gradient of a convolution's weight; that of a transposed one's with its input in place of y_grad.
Tensor conv3d_weight(const Tensor& x, const Tensor& y_grad, const Shape& weight, const Conv3dOptions& o) {
  const Tensor planes = planes_of(x), grads = planes_of(y_grad);
  Attributes attributes{{"kernel_size", extents_of(weight).plane().to_vector()}};
  options_of_images(o).to_attributes(attributes);
  std::vector<Tensor> taps;
  for (int64_t t = 0; t < weight[2]; ++t) {
    const Tap tap = tap_of(t, x.shape(2), y_grad.shape(2), o);
    if (tap.count == 0)
      taps.push_back(NDArray::zeros({weight[0], weight[1], weight[3], weight[4]}, x.dtype()));
    else
      taps.push_back(apply(make_op("conv2d_weight", attributes),
                           {images_of(some_planes(planes, tap.plane, tap.count, o.stride.depth)),
                            images_of(some_planes(grads, tap.first, tap.count))}));
  }
  return stack(taps, 2);
}

// The formula is computed only: it adds in place. Gradients are written out.
class Conv3d final : public ComposedOp {
 public:
  explicit Conv3d(const Conv3dOptions& options) : options_(options) {}
  std::string_view name() const override { return "conv3d"; }
  InputCount num_inputs() const override { return {2, 3}; }
  Attributes attributes() const override {
    Attributes a;
    options_.to_attributes(a);
    return a;
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const Tensor &x = inputs[0], &weight = inputs[1];
    std::vector<Tensor> grads(inputs.size());
    const Triple rest = along_each([](int64_t room, int64_t stride) { return room % stride; },
                                   room_of(x.shape(), weight.shape(), options_), options_.stride);
    if (x.requires_grad()) grads[0] = conv_transpose3d(out_grad, weight, {}, options_, rest);
    if (weight.requires_grad()) grads[1] = conv3d_weight(x, out_grad, weight.shape(), options_);
    if (inputs.size() > 2 && inputs[2].requires_grad()) grads[2] = bias_gradient(out_grad, inputs[2]);
    return grads;
  }

 private:
  Tensor formula(std::span<const Tensor> inputs) const override {
    const Tensor &x = inputs[0], &weight = inputs[1];
    check_operands("conv3d", inputs, options_, 1);
    const Triple room = room_of(x.shape(), weight.shape(), options_);
    check<ShapeError>(room.least() >= 0, name(), ": a kernel of ", extents_of(weight.shape()),
                      " is larger than the padded input (input ", x.shape(), ")");
    const Triple out =
        along_each([](int64_t size, int64_t stride) { return size / stride + 1; }, room, options_.stride);
    const Tensor planes = planes_of(x);
    NDArray y = planes_for(out, weight.shape(0), inputs);
    const auto [begin, end] = taps_that_see(weight.shape(2), x.shape(2), out.depth, options_);
    for (int64_t t = begin; t < end; ++t) {
      const Tap tap = tap_of(t, x.shape(2), out.depth, options_);
      if (tap.count == 0) continue;
      const Tensor seen = images_of(some_planes(planes, tap.plane, tap.count, options_.stride.depth));
      const Tensor part = conv2d(seen, weight_of_tap(weight, t), {}, options_of_images(options_));
      add_planes(planes_of(part, x.shape(0)).data(), tap.first, 1, y);
    }
    return volume_of(y);
  }

  Conv3dOptions options_;
};

class ConvTranspose3d final : public ComposedOp {
 public:
  ConvTranspose3d(const Conv3dOptions& options, Triple output_padding)
      : options_(options), output_padding_(output_padding) {}
  std::string_view name() const override { return "conv_transpose3d"; }
  InputCount num_inputs() const override { return {2, 3}; }
  Attributes attributes() const override {
    Attributes a{{"output_padding", output_padding_.to_vector()}};
    options_.to_attributes(a);
    return a;
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const Tensor &x = inputs[0], &weight = inputs[1];
    std::vector<Tensor> grads(inputs.size());
    if (x.requires_grad()) {
      // Behind an output padding of the stride or more there may be windows that nothing was computed from.
      grads[0] = conv3d(out_grad, weight, {}, options_);
      for (const int axis : {2, 3, 4})
        if (grads[0].shape(axis) != x.shape(axis)) grads[0] = slice(grads[0], axis, 0, x.shape(axis));
    }
    if (weight.requires_grad()) grads[1] = conv3d_weight(out_grad, x, weight.shape(), options_);
    if (inputs.size() > 2 && inputs[2].requires_grad()) grads[2] = bias_gradient(out_grad, inputs[2]);
    return grads;
  }

 private:
  Tensor formula(std::span<const Tensor> inputs) const override {
    const Tensor &x = inputs[0], &weight = inputs[1];
    check_operands("conv_transpose3d", inputs, options_, 0);
    const Triple out = output_sizes(x.shape(), weight.shape());
    const Tensor planes = planes_of(x);
    NDArray y = planes_for(out, weight.shape(1) * options_.groups, inputs);
    const auto [begin, end] = taps_that_see(weight.shape(2), out.depth, x.shape(2), options_);
    for (int64_t t = begin; t < end; ++t) {
      const Tap tap = tap_of(t, out.depth, x.shape(2), options_);
      if (tap.count == 0) continue;
      const Tensor seen = images_of(some_planes(planes, tap.first, tap.count));
      const Tensor part =
          conv_transpose2d(seen, weight_of_tap(weight, t), {}, options_of_images(options_), output_padding_.plane());
      add_planes(planes_of(part, x.shape(0)).data(), tap.plane, options_.stride.depth, y);
    }
    return volume_of(y);
  }

  Triple output_sizes(const Shape& x, const Shape& weight) const {
    const Conv3dOptions& o = options_;
    along_each(
        [this](int64_t extra, int64_t stride, int64_t dilation) {
          check<ValueError>(extra >= 0 && extra < std::max(stride, dilation), name(), ": output_padding ", extra,
                            " must be at least 0 and less than stride ", stride, " or dilation ", dilation);
          return extra;
        },
        output_padding_, o.stride, o.dilation);
    // The sizes of the convolution that this is the transpose of.
    const Triple wanted =
        along_each([](int64_t size, int64_t kernel, int64_t stride, int64_t dilation,
                      int64_t extra) { return (size - 1) * stride + dilation * (kernel - 1) + 1 + extra; },
                   extents_of(x), extents_of(weight), o.stride, o.dilation, output_padding_);
    const Triple out = along_each([](int64_t size, int64_t before, int64_t after) { return size - before - after; },
                                  wanted, o.padding.before, o.padding.after);
    check<ShapeError>(out.least() > 0, name(), ": the output of input ", x, " and weight ", weight, " would be ", out);
    return out;
  }

  Conv3dOptions options_;
  Triple output_padding_;
};

const OpRegistration conv3d_registrations[] = {
    {"conv3d", [](const Attributes& a) { return std::make_unique<Conv3d>(Conv3dOptions::from_attributes(a)); }},
    {"conv_transpose3d",
     [](const Attributes& a) {
       return std::make_unique<ConvTranspose3d>(Conv3dOptions::from_attributes(a), Triple::from(a, "output_padding"));
     }},
};

Tensor apply_with_bias(std::unique_ptr<Op> op, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (!bias.defined()) return apply(std::move(op), {x, weight});
  return apply(std::move(op), {x, weight, bias});
}

}  // namespace

void Conv3dOptions::to_attributes(Attributes& a) const {
  a.set("stride", stride.to_vector());
  a.set("padding", padding.to_vector());
  a.set("dilation", dilation.to_vector());
  a.set("groups", groups);
}

Conv3dOptions Conv3dOptions::from_attributes(const Attributes& a) {
  return {.stride = Triple::from(a, "stride"),
          .padding = Padding3d::from(a, "padding"),
          .dilation = Triple::from(a, "dilation"),
          .groups = a.get<int64_t>("groups")};
}

Tensor conv3d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv3dOptions& options) {
  return apply_with_bias(std::make_unique<Conv3d>(options), x, weight, bias);
}

Tensor conv_transpose3d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv3dOptions& options,
                        Triple output_padding) {
  return apply_with_bias(std::make_unique<ConvTranspose3d>(options, output_padding), x, weight, bias);
}

}  // namespace thimble
