// Convolutions.
#include <algorithm>

#include <thimble/serialization/onnx/handlers.h>
#include <thimble/serialization/onnx/padding.h>
#include <thimble/serialization/onnx/shape_values.h>

namespace thimble::onnx {

namespace {

bool has_auto_pad(const OnnxNode& node) { return node.text("auto_pad", "NOTSET").starts_with("SAME"); }

// Axes of a weight's kernel, or of an image that it goes over.
int spatial_dims(const OnnxNode& node, const Value& weight) {
  const int spatial = weight.rank - 2;
  node.require(spatial >= 1 && spatial <= 3, "its weight has ", weight.rank, " dimensions, expected 3 to 5");
  return spatial;
}

// A weight for lines as one for images.
NDArray planar_weight(const NDArray& weight) { return weight.ndim() == 3 ? weight.unsqueeze(2) : weight; }

// Sizes of a kernel: the weight's, if that is known, else what kernel_shape says, else nothing that matters.
std::vector<int64_t> conv_kernel_of(const OnnxNode& node, const Value& weight) {
  const int spatial = spatial_dims(node, weight);
  if (weight.constant.defined()) {
    const Shape& shape = weight.constant.shape();
    const std::vector<int64_t> own(shape.begin() + 2, shape.end());
    node.require(node.integers("kernel_shape", own) == own, "its attribute 'kernel_shape' is not that of its weight, ",
                 shape);
    const std::vector<int64_t> sizes = planar_weight(weight.constant).shape().to_vector();
    return {sizes.begin() + 2, sizes.end()};
  }
  node.require(node.op() == "ConvTranspose" || !has_auto_pad(node) || node.has("kernel_shape"),
               "auto_pad of a weight that is computed is not covered without kernel_shape");
  return std::vector<int64_t>(spatial == 3 ? 3 : 2, 1);
}

Attributes conv_op_attributes(const OnnxNode& node, const Window& window) {
  node.require(node.integer("group", 1) >= 1, "its attribute 'group' is not from 1 on");
  return {{"stride", window.stride},
          {"padding", window.padding},
          {"dilation", window.dilation},
          {"groups", node.integer("group", 1)}};
}

// Images of one row for lines.
Value as_image(Importer& importer, const OnnxNode& node, const Value& x, int spatial) {
  node.require(x.rank == spatial + 2 || x.rank < 0, "its input has ", x.rank, " dimensions, expected ", spatial + 2);
  return spatial == 1 ? importer.apply(node, "unsqueeze", {{"axis", int64_t{2}}}, {x}, 4) : x;
}

Value as_line(Importer& importer, const OnnxNode& node, const Value& y, int spatial) {
  return spatial == 1 ? importer.apply(node, "squeeze", {{"axis", int64_t{2}}}, {y}, 3) : y;
}

// A layer where weight and bias are known, else an op.
Value convolved(Importer& importer, const OnnxNode& node, const Value& images, const Window& window) {
  const Value& weight = importer.input(node, 1);
  const bool has_bias = importer.has_input(node, 2);
  const int spatial = weight.rank - 2;
  Attributes attributes = conv_op_attributes(node, window);
  const NDArray bias = has_bias ? importer.input(node, 2).constant : NDArray();
  if (weight.constant.defined() && (!has_bias || bias.defined())) {
    const NDArray planar = planar_weight(weight.constant);
    attributes.set("in_channels", product_of_sizes(node, planar.shape(1), node.integer("group", 1)));
    attributes.set("out_channels", planar.shape(0));
    attributes.set("kernel_size", window.kernel);
    attributes.set("bias", has_bias);
    NamedArrays tensors{{"weight", planar}};
    if (has_bias) tensors.emplace_back("bias", bias);
    return importer.call(node, window.op("Conv"), attributes, tensors, {images}, window.rank());
  }
  std::vector<Value> operands{images, as_image(importer, node, weight, spatial)};
  if (has_bias) operands.push_back(importer.input(node, 2));
  return importer.apply(node, window.op("conv"), attributes, operands, window.rank());
}

Value conv_of(Importer& importer, const OnnxNode& node) {
  const Value& weight = importer.input(node, 1);
  const Window window = window_of_any_size(node, conv_kernel_of(node, weight));
  const int spatial = weight.rank - 2;
  Value images = as_image(importer, node, importer.input(node, 0), spatial);
  node.require(window.auto_pad == "none" || !images.constant.defined(),
               "auto_pad of a constant input is not covered");  // which would be padded here and now
  if (window.auto_pad != "none")
    images = importer.apply(node, window.op("pad_same"),
                            {{"kernel_size", window.kernel},
                             {"stride", window.stride},
                             {"dilation", window.dilation},
                             {"upper", window.auto_pad == "upper"}},
                            {images});
  return as_line(importer, node, convolved(importer, node, images, window), spatial);
}

void conv(Importer& importer, const OnnxNode& node) { importer.set(node, 0, conv_of(importer, node)); }

// com.microsoft: what ONNX Runtime makes of a convolution, an addend and an activation.
void fused_conv(Importer& importer, const OnnxNode& node) {
  Value y = conv_of(importer, node);
  if (importer.has_input(node, 3)) y = importer.apply(node, "add", {}, {y, importer.input(node, 3)});
  const std::string activation = node.text("activation", "");
  const std::vector<float> parameters = node.numbers("activation_params");
  const auto parameter = [&](size_t i) {
    node.require(i < parameters.size(), "its activation '", activation, "' has too few 'activation_params'");
    return double{parameters[i]};
  };
  const auto apply = [&](const char* op, const Attributes& attributes) {
    y = importer.apply(node, op, attributes, {y});
  };
  if (activation == "Relu")
    apply("relu", {});
  else if (activation == "Sigmoid")
    apply("sigmoid", {});
  else if (activation == "Tanh")
    apply("tanh", {});
  else if (activation == "LeakyRelu")
    apply("leaky_relu", {{"negative_slope", parameter(0)}});
  else if (activation == "Clip")
    apply("clamp", {{"min", parameter(0)}, {"max", parameter(1)}});
  else if (activation == "HardSigmoid") {
    y = importer.apply(node, "mul", {}, {y, Importer::number(parameter(0))});
    y = importer.apply(node, "add", {}, {y, Importer::number(parameter(1))});
    apply("clamp", {{"min", 0.0}, {"max", 1.0}});
  } else {
    node.require(activation.empty(), "its activation '", activation, "' is not covered");
  }
  importer.set(node, 0, y);
}

// What is added to the sizes of a transposed convolution.
std::vector<int64_t> output_padding_of(const OnnxNode& node, const Window& window) {
  std::vector<int64_t> list = node.integers("output_padding", std::vector<int64_t>(window.dims(), 0));
  if (list.size() == 1) list.insert(list.begin(), 0);
  node.require(
      list.size() == window.dims() && std::ranges::all_of(list, [](int64_t p) { return p >= 0 && p < kMostOfWindow; }),
      "its attribute 'output_padding' is not of ", window.dims(), " numbers from 0 on");
  return list;
}

// auto_pad makes an output of in * stride, whatever the size.
void pad_transposed(const OnnxNode& node, Window& window, std::vector<int64_t>& output_padding) {
  const std::string auto_pad = node.text("auto_pad", "NOTSET");
  if (!has_auto_pad(node)) return;
  for (size_t d = 0; d < window.dims(); ++d) {
    const int64_t reach = window.dilation[d] * (window.kernel[d] - 1) + 1;
    const int64_t total = reach + output_padding[d] - window.stride[d], padding = std::max<int64_t>(total, 0);
    output_padding[d] += padding - total;
    window.padding[d] = auto_pad == "SAME_UPPER" ? padding / 2 : padding - padding / 2;
    window.padding[d + window.dims()] = padding - window.padding[d];
  }
}

// Without the bias.
Value conv_transposed(Importer& importer, const OnnxNode& node, const Value& images, const Window& window,
                      const std::vector<int64_t>& output_padding, const NDArray& bias) {
  const Value& weight = importer.input(node, 1);
  const int spatial = weight.rank - 2;
  Attributes attributes = conv_op_attributes(node, window);
  attributes.set("output_padding", output_padding);
  if (!weight.constant.defined())
    return importer.apply(node, window.op("conv_transpose"), attributes,
                          {images, as_image(importer, node, weight, spatial)}, window.rank());
  const NDArray planar = planar_weight(weight.constant);
  attributes.set("in_channels", planar.shape(0));
  attributes.set("out_channels", product_of_sizes(node, planar.shape(1), node.integer("group", 1)));
  attributes.set("kernel_size", window.kernel);
  attributes.set("bias", bias.defined());
  NamedArrays tensors{{"weight", planar}};
  if (bias.defined()) tensors.emplace_back("bias", bias);
  return importer.call(node, window.op("ConvTranspose"), attributes, tensors, {images}, window.rank());
}

// Spatial axes cut, or extended by zeros at their ends, to these sizes.
Value cut_to(Importer& importer, const OnnxNode& node, Value y, const Value& target, bool small_first) {
  const auto op = [&](const char* name, const Value& a, const Value& b) {
    return importer.apply(node, name, {}, {a, b});
  };
  const auto dims = static_cast<size_t>(y.rank - 2);
  const auto all = [&](int64_t value) { return Importer::integers(std::vector<int64_t>(dims, value)); };
  const Value own = slice_of(importer, node, sizes_of(importer, node, y), 0, 2, y.rank);
  const Value missing = op("maximum", op("sub", target, own), all(0)),
              excess = op("maximum", op("sub", own, target), all(0));
  const Value half = op("div", excess, all(2)), before = small_first ? half : op("sub", excess, half);
  std::vector<Value> padding;
  for (int64_t d = y.rank - 3; d >= 0; --d) {
    padding.push_back(Importer::integers({0}));
    padding.push_back(slice_of(importer, node, missing, 0, d, d + 1));
  }
  const Value list = importer.apply(node, "concat", {{"axis", int64_t{0}}}, padding);
  y = importer.apply_with(node, "pad", {{"value", 0.0}}, {y}, {{"padding", list}}, y.rank);
  const Value end = op("add", before, target);
  for (int64_t d = 0; d < y.rank - 2; ++d) {
    const auto bound = [&](const Value& list_of_all) { return entry(importer, node, list_of_all, d); };
    y = importer.apply_with(node, "slice", {{"axis", d + 2}, {"step", int64_t{1}}}, {y},
                            {{"start", bound(before)}, {"stop", bound(end)}}, y.rank);
  }
  return y;
}

Value plus_channel_bias(Importer& importer, const OnnxNode& node, const Value& y, const Value& bias) {
  std::vector<int64_t> shape(static_cast<size_t>(y.rank - 1), 1);
  shape[0] = -1;
  const Value channels = importer.apply(node, "reshape", {{"shape", shape}}, {bias}, y.rank - 1);
  return importer.apply(node, "add", {}, {y, channels}, y.rank);
}

// What output_shape says; where the kernel's size is not known, what auto_pad does.
Value wanted_sizes(Importer& importer, const OnnxNode& node, const Value& images, const Window& window, int spatial) {
  if (!node.has("output_shape")) {
    const Value own = slice_of(importer, node, sizes_of(importer, node, images), 0, 2, window.rank());
    return importer.apply(node, "mul", {}, {own, Importer::integers(window.stride)});
  }
  std::vector<int64_t> sizes = node.integers("output_shape");
  if (static_cast<int>(sizes.size()) == spatial + 2) sizes.erase(sizes.begin(), sizes.begin() + 2);
  node.require(static_cast<int>(sizes.size()) == spatial, "its attribute 'output_shape' has ", sizes.size(),
               " entries, expected ", spatial);
  if (spatial == 1) sizes.insert(sizes.begin(), 1);
  return Importer::integers(sizes);
}

void conv_transpose(Importer& importer, const OnnxNode& node) {
  const Value& weight = importer.input(node, 1);
  Window window = window_of_any_size(node, conv_kernel_of(node, weight));
  const int spatial = weight.rank - 2;
  std::vector<int64_t> output_padding = output_padding_of(node, window);
  const bool is_sized = weight.constant.defined() || node.has("kernel_shape"), has_bias = importer.has_input(node, 2);
  const bool is_cut = node.has("output_shape") || (has_auto_pad(node) && !is_sized);
  if (is_cut)
    window.padding.assign(2 * window.dims(), 0);
  else
    pad_transposed(node, window, output_padding);
  const Value images = as_image(importer, node, importer.input(node, 0), spatial);
  // The layer has the bias, unless the output is cut first.
  const NDArray own_bias =
      has_bias && !is_cut && weight.constant.defined() ? importer.input(node, 2).constant : NDArray();
  Value y = conv_transposed(importer, node, images, window, output_padding, own_bias);
  if (is_cut)
    y = cut_to(importer, node, y, wanted_sizes(importer, node, images, window, spatial),
               node.text("auto_pad", "NOTSET") == "SAME_UPPER");
  if (has_bias && !own_bias.defined()) y = plus_channel_bias(importer, node, y, importer.input(node, 2));
  importer.set(node, 0, as_line(importer, node, y, spatial));
}

}  // namespace

void add_layers(Handlers& handlers) {
  const Handlers own{{"Conv", conv}, {"ConvTranspose", conv_transpose}, {"com.microsoft.FusedConv", fused_conv}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
