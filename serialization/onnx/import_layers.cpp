// Convolutions, matrix products and normalizations.
#include <algorithm>

#include <thimble/serialization/onnx/handlers.h>
#include <thimble/serialization/onnx/padding.h>

namespace thimble::onnx {

namespace {

Attributes conv_attributes(const OnnxNode& node, const NDArray& weight, int64_t in, int64_t out, bool has_bias) {
  const Window window = window_of(node, {weight.shape(2), weight.shape(3)});
  return {{"in_channels", in},
          {"out_channels", out},
          {"kernel_size", window.kernel},
          {"stride", window.stride},
          {"padding", window.padding},
          {"dilation", window.dilation},
          {"groups", node.integer("group", 1)},
          {"bias", has_bias}};
}

NamedArrays weight_and_bias(Importer& importer, const OnnxNode& node, const NDArray& weight) {
  NamedArrays tensors{{"weight", weight}};
  if (importer.has_input(node, 2)) tensors.emplace_back("bias", importer.constant(node, 2, "B"));
  return tensors;
}

// Of two spatial dimensions; one becomes the width of images of one row.
void conv(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  const NDArray& weight = importer.constant(node, 1, "W");
  const int spatial = weight.ndim() - 2;
  node.require(spatial == 1 || spatial == 2, "its weight has ", weight.ndim(), " dimensions, expected 3 or 4");
  node.require(x.rank == weight.ndim(), "its input has ", x.rank, " dimensions, its weight ", weight.ndim());
  const NDArray planar = spatial == 1 ? weight.unsqueeze(2) : weight;
  const int64_t groups = node.integer("group", 1);
  const Attributes attributes =
      conv_attributes(node, planar, weight.shape(1) * groups, weight.shape(0), importer.has_input(node, 2));
  const Value images = spatial == 1 ? importer.apply(node, "unsqueeze", {{"axis", int64_t{2}}}, {x}, 4) : x;
  Value y = importer.call(node, "Conv2d", attributes, weight_and_bias(importer, node, planar), {images}, 4);
  if (spatial == 1) y = importer.apply(node, "squeeze", {{"axis", int64_t{2}}}, {y}, 3);
  importer.set(node, 0, y);
}

void conv_transpose(Importer& importer, const OnnxNode& node) {
  const NDArray& weight = importer.constant(node, 1, "W");
  node.require(weight.ndim() == 4, "its weight has ", weight.ndim(), " dimensions, expected 4");
  node.require(!node.has("output_shape"), "its attribute 'output_shape' is not covered");
  const int64_t groups = node.integer("group", 1);
  Attributes attributes =
      conv_attributes(node, weight, weight.shape(0), weight.shape(1) * groups, importer.has_input(node, 2));
  attributes.set("output_padding", node.integers("output_padding", {0, 0}));
  importer.set(node, 0,
               importer.call(node, "ConvTranspose2d", attributes, weight_and_bias(importer, node, weight),
                             {importer.input(node, 0)}, 4));
}

Value transposed(Importer& importer, const OnnxNode& node, const Value& x) {
  return importer.apply(node, "transpose", {{"axis0", int64_t{0}}, {"axis1", int64_t{1}}}, {x});
}

Value scaled(Importer& importer, const OnnxNode& node, const Value& x, double factor) {
  return factor == 1 ? x : importer.apply(node, "mul", {}, {x, Importer::number(factor)});
}

// A layer where its weight is known, which quantization and training know what to do with.
Value linear(Importer& importer, const OnnxNode& node, const Value& x, const NDArray& weight, const NDArray& bias) {
  NamedArrays tensors{{"weight", weight}};
  if (bias.defined()) tensors.emplace_back("bias", bias);
  const Attributes attributes{
      {"in_features", weight.shape(1)}, {"out_features", weight.shape(0)}, {"bias", bias.defined()}};
  return importer.call(node, "Linear", attributes, tensors, {x}, x.rank);
}

void gemm(Importer& importer, const OnnxNode& node) {
  const double alpha = node.number("alpha", 1), beta = node.number("beta", 1);
  const bool trans_a = node.integer("transA", 0) != 0, trans_b = node.integer("transB", 0) != 0;
  Value a = importer.input(node, 0);
  if (trans_a) a = transposed(importer, node, a);
  const Value& b = importer.input(node, 1);
  const bool has_c = importer.has_input(node, 2) && beta != 0;
  const NDArray c = has_c ? importer.input(node, 2).constant : NDArray();
  const int64_t out = b.constant.defined() && b.constant.ndim() == 2 ? b.constant.shape(trans_b ? 0 : 1) : -1;
  const bool is_bias = !has_c || (c.defined() && c.shape() == Shape{out} && beta == 1);
  if (out >= 0 && is_bias && alpha == 1) {
    const NDArray weight = trans_b ? b.constant : b.constant.transpose(0, 1).contiguous();
    return importer.set(node, 0, linear(importer, node, a, weight, c));
  }
  const Value product = importer.apply(node, "matmul", {}, {a, trans_b ? transposed(importer, node, b) : b});
  Value y = scaled(importer, node, product, alpha);
  if (has_c) y = importer.apply(node, "add", {}, {y, scaled(importer, node, importer.input(node, 2), beta)});
  importer.set(node, 0, y);
}

void matmul(Importer& importer, const OnnxNode& node) {
  const Value &a = importer.input(node, 0), &b = importer.input(node, 1);
  const bool is_layer = b.constant.defined() && b.rank == 2 && is_differentiable(b.constant.dtype());
  if (is_layer && a.rank >= 2 && !a.constant.defined())
    return importer.set(node, 0, linear(importer, node, a, b.constant.transpose(0, 1).contiguous(), {}));
  const bool has_vector = a.rank == 1 || b.rank == 1;
  const int rank = std::max(a.rank, b.rank) - (has_vector ? 1 : 0);
  importer.set(node, 0, importer.apply(node, "matmul", {}, {a, b}, a.rank == 1 && b.rank == 1 ? 0 : rank));
}

void batch_norm(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  node.require(node.integer("training_mode", 0) == 0 && node.output(1).empty(), "training mode is not covered");
  node.require(node.integer("spatial", 1) == 1, "'spatial' of 0 is not covered");
  node.require(x.rank == 4 || x.rank == 2 || x.rank == 3, "its input has ", x.rank, " dimensions, expected 2 to 4");
  const NDArray& scale = importer.constant(node, 1, "scale");
  const Attributes attributes{{"num_features", scale.numel()},
                              {"eps", node.number("epsilon", 1e-5)},
                              {"momentum", 1 - node.number("momentum", 0.9)},
                              {"affine", true}};
  const NamedArrays tensors{{"weight", scale},
                            {"bias", importer.constant(node, 2, "B")},
                            {"running_mean", importer.constant(node, 3, "mean")},
                            {"running_var", importer.constant(node, 4, "var")},
                            {"num_batches_tracked", NDArray::zeros({}, DType::int64)}};
  const char* type = x.rank == 4 ? "BatchNorm2d" : "BatchNorm1d";
  importer.set(node, 0, importer.call(node, type, attributes, tensors, {x}, x.rank));
}

}  // namespace

void add_layers(Handlers& handlers) {
  const Handlers own{{"BatchNormalization", batch_norm},
                     {"Conv", conv},
                     {"ConvTranspose", conv_transpose},
                     {"Gemm", gemm},
                     {"MatMul", matmul}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
