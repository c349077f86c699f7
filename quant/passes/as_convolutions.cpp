#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_set>

#include <thimble/nn/layers/batch_norm.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/quant/passes/as_convolutions.h>
#include <thimble/quant/passes/fold_sizes.h>
#include <thimble/quant/passes/fuse.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/passes/value_functions.h>

namespace thimble::quant {

using nn::Graph;
using nn::Node;

namespace {

// Another tensor, frozen if it is.
Tensor like(const Tensor& original, const NDArray& array) {
  return Tensor(array.to(original.dtype()), original.requires_grad());
}

Tensor repeated(const Tensor& per_channel, int64_t times) {
  if (!per_channel.defined()) return {};
  const std::vector<double> once = per_channel.data().to_vector<double>();
  std::vector<double> all;
  for (int64_t i = 0; i < times; ++i) all.insert(all.end(), once.begin(), once.end());
  return like(per_channel, NDArray::from_vector(all));
}

bool is_called_once(const Graph& graph, const Node* node) { return graph.calls_of_layer(node) == 1; }

// The only one who uses the value; null if there are others, or it is an output.
Node* only_user(const Graph& graph, const Node* value) {
  const std::vector<Node*> users = graph.users(value);
  return users.size() == 1 && !graph.is_output(value) ? users[0] : nullptr;
}

void rename_aside(Graph& graph, Node* node, const std::string& suffix) {
  std::string name = node->name + suffix;
  while (graph.find(name)) name += '_';
  graph.rename(node, name);
}

// Puts an op between the node and those who use it, and under its name.
Node* put_behind(Graph& graph, Node* node, const std::string& suffix, const std::string& op, Attributes attributes) {
  const std::string name = node->name;
  rename_aside(graph, node, suffix);
  Node* added = graph.add_op(name, op, std::move(attributes), {node}, node);
  graph.replace_uses(node, added);
  return added;
}

// One dimension of a transposed convolution: output q * stride + r - padding is the sum over j of input q - j times the
// kernel at r + j * stride.
struct TransposedAxis {
  int64_t kernel, stride, before, after, output_padding;
  // Of the convolution: how many inputs an output sees.
  int64_t taps() const { return (kernel + stride - 1) / stride; }
  // How many times the weights it has: where the stride does not divide the kernel, some are 0.
  double growth() const { return static_cast<double>(taps() * stride) / static_cast<double>(kernel); }
  // What is too much at the end of the outputs.
  int64_t surplus() const { return taps() * stride - kernel + after - output_padding; }
};

struct Transposed {
  static constexpr int64_t kMostStride = 16;
  static constexpr double kMostGrowth = 9;  // beyond, most products would be with zeros

  explicit Transposed(const nn::ConvTranspose2d& layer) {
    const Attributes a = layer.attributes();
    const Conv2dOptions o = Conv2dOptions::from_attributes(a);
    const Pair extra = Pair::from(a, "output_padding");
    const Shape& w = layer.weight.shape();
    in = w[0];
    out = w[1];
    rows = {w[2], o.stride.height, o.padding.top, o.padding.bottom, extra.height};
    columns = {w[3], o.stride.width, o.padding.left, o.padding.right, extra.width};
    const bool is_square = rows.stride == columns.stride && rows.stride >= 1 && rows.stride <= kMostStride;
    is_plain = o.groups == 1 && o.dilation == Pair(1) && is_square && rows.growth() * columns.growth() <= kMostGrowth &&
               rows.surplus() >= 0 && columns.surplus() >= 0 && rows.before >= 0 && columns.before >= 0;
  }
  int64_t in, out;
  TransposedAxis rows, columns;
  bool is_plain;
};

// [s * s * out, in, taps, taps]: the channels of one output pixel follow each other.
NDArray convolution_weight(const Transposed& t, const NDArray& weight) {
  const int64_t s = t.rows.stride, height = t.rows.taps(), width = t.columns.taps();
  const std::vector<double> w = weight.to_vector<double>();
  std::vector<double> result;
  for (int64_t row = 0; row < s; ++row)
    for (int64_t column = 0; column < s; ++column)
      for (int64_t o = 0; o < t.out; ++o)
        for (int64_t i = 0; i < t.in; ++i)
          for (int64_t y = height - 1; y >= 0; --y)
            for (int64_t x = width - 1; x >= 0; --x) {
              const int64_t ky = row + y * s, kx = column + x * s;
              const bool is_inside = ky < t.rows.kernel && kx < t.columns.kernel;
              const int64_t at = ((i * t.out + o) * t.rows.kernel + ky) * t.columns.kernel + kx;
              result.push_back(is_inside ? w[static_cast<size_t>(at)] : 0);
            }
  return NDArray::from_vector(result, {s * s * t.out, t.in, height, width});
}

// Normalization in front of the pixel_shuffle has each channel s * s times.
std::shared_ptr<nn::Module> repeated_norm(const nn::BatchNorm& bn, int64_t times) {
  auto result = std::make_shared<nn::BatchNorm2d>(repeated(bn.weight, times), repeated(bn.bias, times),
                                                  repeated(bn.running_mean, times), repeated(bn.running_var, times),
                                                  bn.eps(), bn.momentum());
  result->eval();
  return result;
}

// The layer's mode stays.
void replace(Graph& graph, Node* node, const std::shared_ptr<nn::Module>& layer) {
  note_type(node, graph.layer(node).type());
  layer->train(graph.layer(node).training());
  graph.replace_layer(node, layer);
}

bool is_norm_in_evaluation(const Graph& graph, const Node* node) {
  return graph.is_layer(node, "BatchNorm2d") && !graph.layer(node).training();
}

bool is_settled_norm(const Graph& graph, const Node* node) {
  return node && is_norm_in_evaluation(graph, node) && is_called_once(graph, node);
}

// What works on each channel by itself stays in front of the pixel_shuffle: fusion will find it there.
Node* behind_norm_and_relu(Graph& graph, Node* last, int64_t copies) {
  for (Node* user = only_user(graph, last); user; user = only_user(graph, last)) {
    if (is_settled_norm(graph, user))
      graph.replace_layer(user, repeated_norm(*graph.layer_as<nn::BatchNorm>(user), copies));
    else if (!graph.is_op(user, "relu"))
      break;
    last = user;
  }
  return last;
}

void replace_transposed(Graph& graph, Node* node) {
  const auto& layer = *graph.layer_as<nn::ConvTranspose2d>(node);
  const Transposed t(layer);
  if (!t.is_plain) return;
  const int64_t s = t.rows.stride;
  const Tensor weight = like(layer.weight, convolution_weight(t, layer.weight.data())),
               bias = repeated(layer.bias, s * s);
  const Conv2dOptions options{.padding = {t.rows.taps() - 1, t.columns.taps() - 1}};
  replace(graph, node, std::make_shared<nn::Conv2d>(weight, bias, options));
  Node* last = behind_norm_and_relu(graph, node, s * s);
  if (last != node && s > 1) rename_aside(graph, node, ".conv");  // its value is another now
  if (s > 1) last = put_behind(graph, last, ".conv", "pixel_shuffle", {{"upscale_factor", s}, {"depth_first", true}});
  for (const int64_t axis : {2, 3}) {
    const TransposedAxis& side = axis == 2 ? t.rows : t.columns;
    if (side.before == 0 && side.surplus() == 0) continue;
    const int64_t stop = side.surplus() > 0 ? -side.surplus() : std::numeric_limits<int64_t>::max();
    last = put_behind(graph, last, ".whole", "slice",
                      {{"axis", axis}, {"start", side.before}, {"stop", stop}, {"step", int64_t{1}}});
  }
}

void replace_norm(Graph& graph, Node* node) {
  const auto& bn = *graph.layer_as<nn::BatchNorm>(node);
  const int64_t channels = bn.num_features();
  const std::vector<double> mean = bn.running_mean.data().to_vector<double>(),
                            variance = bn.running_var.data().to_vector<double>();
  std::vector<double> scale(mean.size(), 1), shift(mean.size(), 0);
  if (bn.weight.defined()) scale = bn.weight.data().to_vector<double>();
  if (bn.bias.defined()) shift = bn.bias.data().to_vector<double>();
  for (size_t c = 0; c < mean.size(); ++c) {
    scale[c] /= std::sqrt(variance[c] + bn.eps());
    shift[c] -= mean[c] * scale[c];
  }
  const Tensor& original = bn.weight.defined() ? bn.weight : bn.running_mean;
  replace(graph, node,
          std::make_shared<nn::Conv2d>(like(original, NDArray::from_vector(scale, {channels, 1, 1, 1})),
                                       like(original, NDArray::from_vector(shift)), Conv2dOptions{.groups = channels}));
}

std::shared_ptr<nn::Module> as_conv2d(const nn::Conv1d& layer) {
  const Attributes a = layer.attributes();
  const auto option = [&](const char* name) { return a.get<int64_t>(name); };
  const Shape& w = layer.weight.shape();
  const Conv2dOptions options{.stride = {1, option("stride")},
                              .padding = {0, option("padding")},
                              .dilation = {1, option("dilation")},
                              .groups = option("groups")};
  return std::make_shared<nn::Conv2d>(like(layer.weight, layer.weight.data().reshape({w[0], w[1], 1, w[2]})),
                                      layer.bias, options);
}

// A row of pixels, [n, c, 1, length]. Another call of the layer may have replaced it already.
void replace_conv1d(Graph& graph, Node* node) {
  if (const auto* layer = graph.layer_as<nn::Conv1d>(node)) replace(graph, node, as_conv2d(*layer));
  Node* x = node->inputs[0];
  graph.set_input(node, 0, graph.add_op(node->name + ".unsqueeze", "unsqueeze", {{"axis", int64_t{2}}}, {x}, x));
  put_behind(graph, node, ".conv", "squeeze", {{"axis", int64_t{2}}});
}

// The nodes whose values integer layers may give: products, and what follows them alone.
std::unordered_set<const Node*> nodes_behind_products(const Graph& graph) {
  std::unordered_set<const Node*> found;
  for (const Node* node : graph.nodes()) {
    const bool follows = follows_inputs(graph, node) || effect_of(graph, node) != Effect::none ||
                         is_norm_in_evaluation(graph, node) || ValueFunctions::may_be_part(node);
    const auto is_behind = [&](const Node* input) {
      return input->kind == Node::Kind::tensor || found.contains(input);
    };
    if (is_product(graph, node) || (follows && !node->inputs.empty() && std::ranges::all_of(node->inputs, is_behind)))
      found.insert(node);
  }
  return found;
}

}  // namespace

Graph as_convolutions(const Graph& graph, bool with_norms) {
  Graph result = fuse_conv_bn_relu(fold_sizes(graph));
  std::vector<Node*> transposed, lines;  // first: other nodes may go with them
  for (Node* node : result.nodes()) {
    if (result.is_layer(node, "ConvTranspose2d") && is_called_once(result, node)) transposed.push_back(node);
    if (result.is_layer(node, "Conv1d")) lines.push_back(node);
  }
  for (Node* node : transposed) replace_transposed(result, node);
  for (Node* node : lines) replace_conv1d(result, node);
  result = fuse_conv_bn_relu(result);
  if (!with_norms) return result;
  const std::unordered_set<const Node*> behind_products = nodes_behind_products(result);
  for (Node* node : result.nodes())
    if (is_norm_in_evaluation(result, node) && behind_products.contains(node)) replace_norm(result, node);
  return fuse_conv_bn_relu(result);
}

}  // namespace thimble::quant
