// Convolutions and normalizations.
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
  const Handlers own{{"BatchNormalization", batch_norm}, {"Conv", conv}, {"ConvTranspose", conv_transpose}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
