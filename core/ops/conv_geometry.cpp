#include <algorithm>
#include <limits>

#include <thimble/core/kernels/image/conv2d_weights.h>
#include <thimble/core/ops/conv_geometry.h>
#include <thimble/core/ops/float_operands.h>

namespace thimble {

namespace {

NDArray packed_weight(const NDArray& weight, const kernels::Conv2dGeometry& g, const kernels::WeightStrides& strides) {
  NDArray packed({kernels::WeightPanels(g).elements(g.groups)}, weight.dtype());
  dispatch_float(weight.dtype(), "conv2d", [&](auto tag) {
    using T = typename decltype(tag)::type;
    kernels::pack_conv2d_weight(g, weight.data<T>(), strides, packed.data<T>());
  });
  return packed;
}

}  // namespace

void check_conv2d_options(const char* op, const Conv2dOptions& o) {
  check<ValueError>(o.stride.height > 0 && o.stride.width > 0, op, ": stride ", o.stride.height, "x", o.stride.width,
                    " must be at least 1");
  check<ValueError>(o.dilation.height > 0 && o.dilation.width > 0, op, ": dilation ", o.dilation.height, "x",
                    o.dilation.width, " must be at least 1");
  const Padding& p = o.padding;
  check<ValueError>(std::min({p.top, p.left, p.bottom, p.right}) >= 0, op, ": padding [", p.top, ",", p.left, ",",
                    p.bottom, ",", p.right, "] must not be negative");
  check<ValueError>(o.groups > 0, op, ": groups ", o.groups, " must be at least 1");
  constexpr int64_t kMost = int64_t{1} << 31;
  for (int64_t v : {o.stride.height, o.stride.width, o.dilation.height, o.dilation.width, p.top, p.left, p.bottom,
                    p.right, o.groups})
    check<ValueError>(v < kMost, op, ": option ", v, " is too large");
}

void check_conv2d_sizes(const char* op, const Shape& image, const Shape& weight) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  for (const Shape& shape : {image, weight})
    check<ShapeError>(std::ranges::all_of(shape, [](int64_t size) { return size <= kMost; }), op, ": ", shape,
                      " has a dimension beyond 2^31 - 1");
}

kernels::Conv2dGeometry conv2d_geometry(const char* op, const Shape& image, const Shape& weight,
                                        const Conv2dOptions& o) {
  check_conv2d_options(op, o);
  check<ShapeError>(image.ndim() == 4, op, ": input must be [batch, channels, height, width], got ", image);
  check<ShapeError>(weight.ndim() == 4 && std::ranges::all_of(weight, [](int64_t size) { return size > 0; }), op,
                    ": weight must be [out, in / groups, kernel height, kernel width], got ", weight);
  check<ShapeError>(image[0] > 0, op, ": the batch is empty (input ", image, ")");
  check_conv2d_sizes(op, image, weight);
  check<ShapeError>(weight[0] % o.groups == 0, op, ": ", o.groups, " groups do not divide ", weight[0],
                    " output channels (weight ", weight, ")");
  check<ShapeError>(image[1] == weight[1] * o.groups, op, ": weight ", weight, " expects ", weight[1] * o.groups,
                    " input channels, got ", image[1], " (input ", image, ")");
  const int64_t height = image[2] + o.padding.top + o.padding.bottom;
  const int64_t width = image[3] + o.padding.left + o.padding.right;
  const int64_t reach_h = o.dilation.height * (weight[2] - 1) + 1, reach_w = o.dilation.width * (weight[3] - 1) + 1;
  check<ShapeError>(reach_h <= height && reach_w <= width, op, ": a kernel of ", reach_h, "x", reach_w,
                    " is larger than the padded input, ", height, "x", width, " (input ", image, ")");
  return {.batch = image[0],
          .in_height = image[2],
          .in_width = image[3],
          .in_channels = image[1],
          .out_height = (height - reach_h) / o.stride.height + 1,
          .out_width = (width - reach_w) / o.stride.width + 1,
          .out_channels = weight[0],
          .kernel_height = weight[2],
          .kernel_width = weight[3],
          .stride_height = o.stride.height,
          .stride_width = o.stride.width,
          .dilation_height = o.dilation.height,
          .dilation_width = o.dilation.width,
          .pad_top = o.padding.top,
          .pad_left = o.padding.left,
          .groups = o.groups};
}

NDArray TrimmedConv2d::of(const NDArray& weight) const {
  return weight.slice(2, first.row, first.row + g.kernel_height).slice(3, first.column, first.column + g.kernel_width);
}

NDArray grouped_weight(const NDArray& weight, int64_t groups, const Shape& axes) {
  const Shape& s = weight.shape();
  return weight.contiguous().reshape({groups, s[0] / groups, s[1], s[2], s[3]}).permute(axes).contiguous();
}

NDArray conv2d_forward_weight(const NDArray& weight, const kernels::Conv2dGeometry& g) {
  if (g.depthwise()) return grouped_weight(weight, g.groups, {3, 4, 2, 0, 1});
  const Shape& s = weight.strides();
  return packed_weight(weight, g,
                       {.group = g.group_out() * s[0], .out = s[0], .in = s[1], .row = s[2], .column = s[3]});
}

NDArray conv2d_input_gradient_weight(const NDArray& weight, const kernels::Conv2dGeometry& g) {
  const NDArray reversed = weight.slice(2, g.kernel_height - 1, -g.kernel_height - 1, -1)
                               .slice(3, g.kernel_width - 1, -g.kernel_width - 1, -1);
  const Shape& s = reversed.strides();
  return packed_weight(reversed, kernels::input_gradient_geometry(g),
                       {.group = g.group_out() * s[0], .out = s[1], .in = s[0], .row = s[2], .column = s[3]});
}

}  // namespace thimble
