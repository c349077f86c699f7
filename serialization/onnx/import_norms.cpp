// Normalizations. Those whose weights are known become layers.
#include <algorithm>
#include <limits>
#include <numeric>

#include <thimble/serialization/onnx/handlers.h>
#include <thimble/serialization/onnx/shape_values.h>

namespace thimble::onnx {

namespace {

// Ops on values, for formulas.
class Formula {
 public:
  Formula(Importer& importer, const OnnxNode& node) : importer_(importer), node_(node) {}

  Value add(const Value& a, const Value& b) const { return op("add", a, b); }
  Value sub(const Value& a, const Value& b) const { return op("sub", a, b); }
  Value mul(const Value& a, const Value& b) const { return op("mul", a, b); }
  Value div(const Value& a, const Value& b) const { return op("div", a, b); }
  Value maximum(const Value& a, const Value& b) const { return op("maximum", a, b); }
  Value sqrt(const Value& x) const { return importer_.apply(node_, "sqrt", {}, {x}); }
  Value abs(const Value& x) const { return importer_.apply(node_, "abs", {}, {x}); }
  Value number(double value) const { return Importer::number(value); }

  Value reduced(const char* op, const Value& x, const std::vector<int64_t>& axes) const {
    return importer_.apply(node_, op, {{"axes", axes}, {"keepdim", true}}, {x});
  }
  Value mean(const Value& x, const std::vector<int64_t>& axes) const { return reduced("mean", x, axes); }
  Value sum(const Value& x, const std::vector<int64_t>& axes) const { return reduced("sum", x, axes); }
  Value variance(const Value& x, const std::vector<int64_t>& axes) const {
    return importer_.apply(node_, "var", {{"axes", axes}, {"keepdim", true}, {"correction", int64_t{0}}}, {x});
  }
  Value reshaped(const Value& x, const std::vector<int64_t>& shape) const {
    Attributes attributes{{"shape", shape}};
    if (std::ranges::find(shape, 0) != shape.end()) attributes.set("zero_copies", true);
    return importer_.apply(node_, "reshape", attributes, {x}, static_cast<int>(shape.size()));
  }
  // [channels] beside a value of this rank.
  Value per_channel(const Value& x, int rank) const {
    std::vector<int64_t> shape(static_cast<size_t>(std::max(rank - 1, 1)), 1);
    shape[0] = -1;
    return reshaped(x, shape);
  }
  Value like(const Value& x, const Value& other) const {
    const Value shape = importer_.apply(node_, "shape", {}, {other}, 1);
    return importer_.apply_with(node_, "reshape", {}, {x}, {{"shape", shape}}, other.rank);
  }

 private:
  Value op(const char* name, const Value& a, const Value& b) const { return importer_.apply(node_, name, {}, {a, b}); }

  Importer& importer_;
  const OnnxNode& node_;
};

std::vector<int64_t> axes_from(int first, int rank) {
  std::vector<int64_t> axes(static_cast<size_t>(std::max(rank - first, 0)));
  std::iota(axes.begin(), axes.end(), int64_t{first});
  return axes;
}

bool are_known(Importer& importer, const OnnxNode& node, size_t first, size_t last) {
  for (size_t i = first; i <= last; ++i)
    if (importer.has_input(node, i) && !importer.input(node, i).constant.defined()) return false;
  return true;
}

bool is_float32(const NDArray& x) { return x.dtype() == DType::float32; }

// In training mode statistics are the batch's, and the running ones two more outputs.
void batch_norm_training(Importer& importer, const OnnxNode& node, double eps, double momentum) {
  const Formula f(importer, node);
  const Value &x = importer.input(node, 0), &scale = importer.input(node, 1), &bias = importer.input(node, 2);
  std::vector<int64_t> axes = axes_from(2, x.rank);
  axes.insert(axes.begin(), 0);
  const Value mean = f.mean(x, axes), variance = f.variance(x, axes);
  const Value normal = f.div(f.sub(x, mean), f.sqrt(f.add(variance, f.number(eps))));
  const auto running = [&](size_t i, const Value& batch) {
    const Value list = f.reshaped(batch, {-1});
    return f.add(f.mul(importer.input(node, i), f.number(momentum)), f.mul(list, f.number(1 - momentum)));
  };
  importer.set(node, 0, f.add(f.mul(normal, f.per_channel(scale, x.rank)), f.per_channel(bias, x.rank)));
  importer.set(node, 1, running(3, mean));
  importer.set(node, 2, running(4, variance));
}

void batch_norm_of_values(Importer& importer, const OnnxNode& node, double eps) {
  const Formula f(importer, node);
  const Value& x = importer.input(node, 0);
  const auto channels = [&](size_t i) { return f.per_channel(importer.input(node, i), x.rank); };
  const Value factor = f.div(channels(1), f.sqrt(f.add(channels(4), f.number(eps))));
  importer.set(node, 0, f.add(f.mul(f.sub(x, channels(3)), factor), channels(2)));
}

void batch_norm(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  const double eps = node.number("epsilon", 1e-5), momentum = node.number("momentum", 0.9);
  node.require(x.rank >= 2, "its input has ", x.rank, " dimensions, expected at least 2");
  node.require(node.integer("spatial", 1) == 1, "'spatial' of 0 is not covered");
  const bool is_old = node.opset() < 14, has_more = !node.output(1).empty();
  if (is_old ? has_more : node.integer("training_mode", 0) != 0)
    return batch_norm_training(importer, node, eps, momentum);
  node.integer("training_mode", 0);
  node.require(!has_more, "its output 1 is that of training mode");
  const bool is_layer = x.rank <= 5 && are_known(importer, node, 1, 4) && is_float32(importer.input(node, 1).constant);
  if (!is_layer) return batch_norm_of_values(importer, node, eps);
  const NDArray& scale = importer.constant(node, 1, "scale");
  const Attributes attributes{
      {"num_features", scale.numel()}, {"eps", eps}, {"momentum", 1 - momentum}, {"affine", true}};
  const NamedArrays tensors{{"weight", scale},
                            {"bias", importer.constant(node, 2, "B")},
                            {"running_mean", importer.constant(node, 3, "mean")},
                            {"running_var", importer.constant(node, 4, "var")},
                            {"num_batches_tracked", NDArray::zeros({}, DType::int64)}};
  const char* type = x.rank == 5 ? "BatchNorm3d" : x.rank == 4 ? "BatchNorm2d" : "BatchNorm1d";
  importer.set(node, 0, importer.call(node, type, attributes, tensors, {x}, x.rank));
}

// A layer for float32 weights of one value a channel.
Value group_norm_layer(Importer& importer, const OnnxNode& node, const Value& x, int64_t groups, double eps,
                       const NDArray& scale, const NDArray& bias) {
  const Attributes attributes{{"num_groups", groups}, {"num_channels", scale.numel()}, {"eps", eps}, {"affine", true}};
  return importer.call(node, "GroupNorm", attributes, {{"weight", scale}, {"bias", bias}}, {x}, x.rank);
}

void instance_norm(Importer& importer, const OnnxNode& node) {
  const Value &x = importer.input(node, 0), &scale = importer.input(node, 1), &bias = importer.input(node, 2);
  const double eps = node.number("epsilon", 1e-5);
  node.require(x.rank >= 2, "its input has ", x.rank, " dimensions, expected at least 2");
  if (x.rank <= 5 && are_known(importer, node, 1, 2) && is_float32(scale.constant))
    return importer.set(
        node, 0, group_norm_layer(importer, node, x, scale.constant.numel(), eps, scale.constant, bias.constant));
  const Formula f(importer, node);
  const std::vector<int64_t> axes = axes_from(2, x.rank);
  node.require(!axes.empty(), "its input has nothing to normalize over");
  const Value normal = f.div(f.sub(x, f.mean(x, axes)), f.sqrt(f.add(f.variance(x, axes), f.number(eps))));
  importer.set(node, 0, f.add(f.mul(normal, f.per_channel(scale, x.rank)), f.per_channel(bias, x.rank)));
}

// scale and bias are for each group before opset 21, for each channel since.
void group_norm(Importer& importer, const OnnxNode& node) {
  const Value &x = importer.input(node, 0), &scale = importer.input(node, 1), &bias = importer.input(node, 2);
  const double eps = node.number("epsilon", 1e-5);
  const int64_t groups = node.integer("num_groups", 0);
  node.integer("stash_type", 1);
  node.require(groups >= 1, "its num_groups is ", groups, ", expected from 1 on");
  node.require(x.rank >= 2 && x.rank <= 5, "its input has ", x.rank, " dimensions, expected 2 to 5");
  const bool is_known = are_known(importer, node, 1, 2);
  if (node.opset() >= 21 && is_known && is_float32(scale.constant))
    return importer.set(node, 0, group_norm_layer(importer, node, x, groups, eps, scale.constant, bias.constant));
  const Formula f(importer, node);
  const Value normal = importer.apply(node, "group_norm", {{"groups", groups}, {"eps", eps}}, {x});
  if (node.opset() >= 21)
    return importer.set(node, 0, f.add(f.mul(normal, f.per_channel(scale, x.rank)), f.per_channel(bias, x.rank)));
  const Value grouped = f.reshaped(normal, {0, groups, -1});
  const Value y = f.add(f.mul(grouped, f.reshaped(scale, {-1, 1})), f.reshaped(bias, {-1, 1}));
  importer.set(node, 0, f.like(y, x));
}

// The last dimensions, from `first` on; weight and bias are of their sizes.
Value layer_norm_of(Importer& importer, const OnnxNode& node, const Value& x, int first, double eps, const Value* scale,
                    const Value* bias) {
  const int dims = x.rank - first;
  const bool is_layer = scale && scale->constant.defined() && (!bias || bias->constant.defined()) &&
                        scale->constant.ndim() == dims && is_float32(scale->constant);
  if (is_layer) {
    const NDArray& weight = scale->constant;
    const NDArray own_bias = bias ? bias->constant : NDArray::zeros(weight.shape());
    const Attributes attributes{
        {"normalized_shape", weight.shape().to_vector()}, {"eps", eps}, {"elementwise_affine", true}};
    return importer.call(node, "LayerNorm", attributes, {{"weight", weight}, {"bias", own_bias}}, {x}, x.rank);
  }
  const Formula f(importer, node);
  Value y = importer.apply(node, "layer_norm", {{"dims", int64_t{dims}}, {"eps", eps}}, {x});
  if (scale) y = f.mul(y, *scale);
  return bias ? f.add(y, *bias) : y;
}

void layer_norm(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  node.require(x.rank >= 0, "nobody knows how many dimensions its input has");
  const int64_t axis = node.integer("axis", -1);
  const int first = static_cast<int>(axis_in(node, axis, x.rank));
  const double eps = node.number("epsilon", 1e-5);
  node.integer("stash_type", 1);
  const Value* bias = importer.has_input(node, 2) ? &importer.input(node, 2) : nullptr;
  importer.set(node, 0, layer_norm_of(importer, node, x, first, eps, &importer.input(node, 1), bias));
  const Formula f(importer, node);
  const std::vector<int64_t> axes = axes_from(first, x.rank);
  if (!node.output(1).empty()) importer.set(node, 1, f.mean(x, axes));
  if (!node.output(2).empty())
    importer.set(node, 2, f.div(f.number(1), f.sqrt(f.add(f.variance(x, axes), f.number(eps)))));
}

// x over its root mean square.
void rms_norm(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  node.require(x.rank >= 0, "nobody knows how many dimensions its input has");
  const int64_t axis = node.integer("axis", -1);
  node.integer("stash_type", 1);
  const Formula f(importer, node);
  const std::vector<int64_t> axes = axes_from(static_cast<int>(axis_in(node, axis, x.rank)), x.rank);
  const Value square = f.mean(f.mul(x, x), axes);
  const Value normal = f.div(x, f.sqrt(f.add(square, f.number(node.number("epsilon", 1e-5)))));
  importer.set(node, 0, f.mul(normal, importer.input(node, 1)));
}

// Of an even number of channels ONNX's window has one more behind, ours before: both turned around they agree.
void local_response_norm(Importer& importer, const OnnxNode& node) {
  const int64_t size = node.integer("size", 0);
  node.require(size >= 1, "its size is ", size, ", expected from 1 on");
  const auto turned = [&](const Value& x) {
    constexpr int64_t kBeforeAll = std::numeric_limits<int64_t>::min();
    return size % 2 == 1 ? x : slice_of(importer, node, x, 1, -1, kBeforeAll, -1);
  };
  const Attributes attributes{{"size", size},
                              {"alpha", node.number("alpha", 1e-4)},
                              {"beta", node.number("beta", 0.75)},
                              {"k", node.number("bias", 1)}};
  importer.set(node, 0,
               turned(importer.apply(node, "local_response_norm", attributes, {turned(importer.input(node, 0))})));
}

void lp_norm(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  const int64_t p = node.integer("p", 2);
  node.require(p == 1 || p == 2, "its p is ", p, ", expected 1 or 2");
  const std::vector<int64_t> axes{node.integer("axis", -1)};
  const Formula f(importer, node);
  const Value norm = p == 1 ? f.sum(f.abs(x), axes) : f.sqrt(f.sum(f.mul(x, x), axes));
  importer.set(node, 0, f.div(x, f.maximum(norm, f.number(1e-12))));
}

// com.microsoft: x + skip (+ bias), normalized over the last dimension; the sum is the fourth output.
void skip_layer_norm(Importer& importer, const OnnxNode& node) {
  const Formula f(importer, node);
  Value sum = f.add(importer.input(node, 0), importer.input(node, 1));
  if (importer.has_input(node, 4)) sum = f.add(sum, importer.input(node, 4));
  const double eps = node.number("epsilon", 1e-12);
  node.require(node.output(1).empty() && node.output(2).empty(),
               "its outputs 'mean' and 'inv_std_var' are not covered");
  const Value* bias = importer.has_input(node, 3) ? &importer.input(node, 3) : nullptr;
  importer.set(node, 0, layer_norm_of(importer, node, sum, sum.rank - 1, eps, &importer.input(node, 2), bias));
  importer.set(node, 3, sum);
}

}  // namespace

void add_norms(Handlers& handlers) {
  const Handlers own{
      {"BatchNormalization", batch_norm},       {"GroupNormalization", group_norm},
      {"InstanceNormalization", instance_norm}, {"LRN", local_response_norm},
      {"LayerNormalization", layer_norm},       {"LpNormalization", lp_norm},
      {"RMSNormalization", rms_norm},           {"com.microsoft.SkipLayerNormalization", skip_layer_norm}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
