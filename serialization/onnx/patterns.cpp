#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>

#include <thimble/serialization/onnx/patterns.h>

namespace thimble::onnx {

namespace {

using nn::Graph;
using nn::Node;

// Numbers of a file are rounded to float32, and those that exporters compute in it, a little more.
bool is_about(double a, double b) { return std::abs(a - b) <= 1e-6 * std::abs(b); }

// Questions about nodes.
class Looking {
 public:
  explicit Looking(const Graph& graph) : graph_(graph) {}

  /// The one number that a node stands for.
  std::optional<double> number(const Node* node) const {
    if (node->kind != Node::Kind::tensor || graph_.tensor(node).numel() != 1) return std::nullopt;
    return graph_.tensor(node).data().reshape({1}).to(DType::float64).item<double>();
  }
  bool is_number(const Node* node, double value) const {
    const std::optional<double> own = number(node);
    return own && is_about(*own, value);
  }
  bool is_op(const Node* node, const char* op) const { return graph_.is_op(node, op); }
  /// The operand beside a number, of a sum or a product; null if there is none.
  const Node* beside_number(const Node* node, const char* op, double value) const {
    if (!is_op(node, op) || node->inputs.size() != 2) return nullptr;
    for (const size_t i : {size_t{0}, size_t{1}})
      if (is_number(node->inputs[i], value)) return node->inputs[1 - i];
    return nullptr;
  }
  /// x, of a node that is x * factor.
  const Node* scaled_by(const Node* node, double factor) const {
    if (const Node* x = beside_number(node, "mul", factor)) return x;
    return is_op(node, "div") && is_number(node->inputs[1], 1 / factor) ? node->inputs[0] : nullptr;
  }
  /// x, of a node that is x clamped to [0, high].
  const Node* clamped(const Node* node, double high) const {
    if (high == 6 && is_op(node, "relu6")) return node->inputs[0];
    const bool is_clamp = is_op(node, "clamp") && node->attributes.get<double>("min", -1.0) == 0 &&
                          node->attributes.get<double>("max", 0.0) == high;
    return is_clamp ? node->inputs[0] : nullptr;
  }

 private:
  const Graph& graph_;
};

// A product of products and quotients by numbers: its factors that are no numbers, and the product of those that are.
struct Product {
  std::vector<Node*> factors;
  double number = 1;
};

class Patterns {
 public:
  Patterns(Graph& graph, Ranks ranks) : graph_(graph), ranks_(std::move(ranks)), look_(graph) {}

  void recognize() {
    std::vector<Node*> nodes = graph_.nodes();
    // From the end, so that a whole is seen before its parts.
    for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
      Node* node = *it;
      const bool is_used = graph_.num_users(node) > 0 || graph_.is_output(node);
      if (is_used && node->kind == Node::Kind::op) recognize(node);
    }
    graph_.eliminate_dead_nodes();
  }

 private:
  void recognize(Node* node) {
    const bool is_product = look_.is_op(node, "mul") || look_.is_op(node, "div");
    if (is_product && recognize_activation(node)) return;  // the node is gone
    if (is_product || look_.is_op(node, "add")) recognize_layer_norm(node);
  }

  // Activations.

  // Parts that others read, too, are factors of their own.
  void collect(Node* node, Product& product, bool is_whole) const {
    constexpr size_t kMost = 3;
    if (product.factors.size() > kMost) return;
    if (const std::optional<double> value = look_.number(node)) {
      product.number *= *value;
    } else if ((is_whole || graph_.num_users(node) == 1) && look_.is_op(node, "mul")) {
      for (Node* input : node->inputs) collect(input, product, false);
    } else if ((is_whole || graph_.num_users(node) == 1) && look_.is_op(node, "div") && look_.number(node->inputs[1])) {
      product.number /= *look_.number(node->inputs[1]);
      collect(node->inputs[0], product, false);
    } else {
      product.factors.push_back(node);
    }
  }

  bool recognize_activation(Node* node) {
    Product product;
    collect(node, product, true);
    if (product.factors.size() == 1 && is_hardsigmoid(product.factors[0], product.number))
      return replace(node, "hardsigmoid", operand_of_hardsigmoid(product.factors[0]));
    for (const size_t i : {size_t{0}, size_t{1}}) {
      if (product.factors.size() != 2) return false;
      Node *x = product.factors[i], *other = product.factors[1 - i];
      const char* op = activation_of(x, other, product.number);
      if (op) return replace(node, op, x);
    }
    return false;
  }

  // The op that x * other * factor is, if it is one.
  const char* activation_of(const Node* x, const Node* other, double factor) const {
    if (factor == 1 && look_.is_op(other, "sigmoid") && other->inputs[0] == x) return "silu";
    if (factor == 1 && look_.is_op(other, "hardsigmoid") && other->inputs[0] == x) return "hardswish";
    if (is_hardsigmoid_of(other, factor, x)) return "hardswish";
    return is_about(factor, 0.5) && is_one_and_erf(other, x) ? "gelu" : nullptr;
  }

  bool is_hardsigmoid_of(const Node* node, double factor, const Node* x) const {
    if (const Node* sum = look_.clamped(node, 6))
      return is_about(factor, 1.0 / 6) && look_.beside_number(sum, "add", 3) == x;
    const Node* sum = look_.clamped(node, 1);
    const Node* scaled = sum && factor == 1 ? look_.beside_number(sum, "add", 0.5) : nullptr;
    return scaled && look_.scaled_by(scaled, 1.0 / 6) == x;
  }

  bool is_hardsigmoid(const Node* node, double factor) const {
    const Node* sum = look_.clamped(node, 6);
    return sum && is_about(factor, 1.0 / 6) && look_.beside_number(sum, "add", 3) != nullptr;
  }

  // Of clamp(x + 3).
  Node* operand_of_hardsigmoid(const Node* clamp) const {
    const std::vector<Node*>& terms = clamp->inputs[0]->inputs;
    return look_.number(terms[0]) ? terms[1] : terms[0];
  }

  bool is_one_and_erf(const Node* node, const Node* x) const {
    const Node* erf = look_.beside_number(node, "add", 1);
    return erf && look_.is_op(erf, "erf") && look_.scaled_by(erf->inputs[0], std::sqrt(0.5)) == x;
  }

  // Layer normalization.

  struct LayerNorm {
    Node *x = nullptr, *weight = nullptr, *bias = nullptr;
    int dims = 0;
    double eps = 0;
  };

  // The operand that is a tensor of the graph, and the other.
  std::pair<Node*, Node*> tensor_and_other(const Node* node) const {
    for (const size_t i : {size_t{0}, size_t{1}})
      if (node->inputs[i]->kind == Node::Kind::tensor) return {node->inputs[i], node->inputs[1 - i]};
    return {nullptr, nullptr};
  }

  bool is_inner(const Node* node) const { return graph_.num_users(node) == 1 && !graph_.is_output(node); }

  std::optional<LayerNorm> layer_norm_ending_in(Node* node) const {
    LayerNorm found;
    Node* at = node;
    if (look_.is_op(at, "add")) {
      std::tie(found.bias, at) = tensor_and_other(at);
      if (!at || !is_inner(at) || !look_.is_op(at, "mul")) return std::nullopt;
    }
    if (look_.is_op(at, "mul")) {
      std::tie(found.weight, at) = tensor_and_other(at);
      if (!at || !is_inner(at)) return std::nullopt;
    }
    return look_.is_op(at, "div") && find_quotient(at, found) && fits(found) ? std::optional(found) : std::nullopt;
  }

  // (x - mean) / sqrt(mean of squares + eps)
  bool find_quotient(const Node* node, LayerNorm& found) const {
    const Node *centered = node->inputs[0], *deviation = node->inputs[1];
    if (!look_.is_op(centered, "sub") || !look_.is_op(deviation, "sqrt")) return false;
    const Node* sum = deviation->inputs[0];
    if (!look_.is_op(sum, "add")) return false;
    const auto [eps, variance] = tensor_and_other(sum);
    if (!eps || !look_.number(eps) || !look_.is_op(variance, "mean")) return false;
    const Node* mean = centered->inputs[1];
    found.x = centered->inputs[0];
    found.eps = *look_.number(eps);
    if (!look_.is_op(mean, "mean") || mean->inputs[0] != found.x || mean->attributes != variance->attributes ||
        !is_square_of(variance->inputs[0], centered))
      return false;
    found.dims = last_dimensions(mean, found.x);
    return found.dims > 0 && found.eps > 0;
  }

  // x - mean is computed twice by some exporters.
  bool is_same(const Node* a, const Node* b) const {
    return a == b ||
           (a->kind == b->kind && a->target == b->target && a->attributes == b->attributes && a->inputs == b->inputs);
  }

  bool is_square_of(const Node* node, const Node* x) const {
    if (look_.is_op(node, "square")) return is_same(node->inputs[0], x);
    if (look_.is_op(node, "mul")) return is_same(node->inputs[0], x) && is_same(node->inputs[1], x);
    if (!look_.is_op(node, "pow") || !is_same(node->inputs[0], x)) return false;
    return node->inputs.size() == 2 ? look_.is_number(node->inputs[1], 2)
                                    : node->attributes.get<double>("exponent", 0.0) == 2;
  }

  // How many dimensions a reduction reduces, if they are the last and are kept.
  int last_dimensions(const Node* mean, const Node* x) const {
    if (!mean->attributes.get<bool>("keepdim", false) || !mean->attributes.contains("axes")) return 0;
    auto axes = mean->attributes.get<std::vector<int64_t>>("axes");
    const auto rank = ranks_.find(x);
    for (int64_t& axis : axes) {
      if (axis < 0) continue;
      if (rank == ranks_.end()) return 0;
      axis -= rank->second;
    }
    std::ranges::sort(axes);
    for (size_t i = 0; i < axes.size(); ++i)
      if (axes[i] != static_cast<int64_t>(i) - static_cast<int64_t>(axes.size())) return 0;
    return static_cast<int>(axes.size());
  }

  // Of each dimension's size: one of size 1 may be broadcast.
  bool fits(const LayerNorm& found) const {
    const auto is_of_dims = [&](const Node* node) {
      const Tensor t = node ? graph_.tensor(node) : Tensor();
      return !node || (t.dtype() == DType::float32 && t.ndim() == found.dims && std::ranges::count(t.shape(), 1) == 0);
    };
    const bool is_alike =
        !found.bias || (found.weight && graph_.tensor(found.weight).shape() == graph_.tensor(found.bias).shape());
    return is_of_dims(found.weight) && is_of_dims(found.bias) && is_alike;
  }

  void recognize_layer_norm(Node* node) {
    const std::optional<LayerNorm> found = layer_norm_ending_in(node);
    if (!found || changes_rank(node, found->x)) return;
    if (!found->weight) {
      const Attributes attributes{{"dims", int64_t{found->dims}}, {"eps", found->eps}};
      return finish(node, graph_.add_op(node->name, "layer_norm", attributes, {found->x}, node));
    }
    const NDArray weight = graph_.tensor(found->weight).data();
    const NDArray bias = found->bias ? graph_.tensor(found->bias).data() : NDArray::zeros(weight.shape());
    std::shared_ptr<nn::Module> layer = nn::make_layer(
        "LayerNorm",
        {{"normalized_shape", weight.shape().to_vector()}, {"eps", found->eps}, {"elementwise_affine", true}});
    layer->load_state({{"weight", weight}, {"bias", bias}});
    layer->eval();
    finish(node, graph_.add_layer(node->name, std::move(layer), {found->x}, node));
  }

  // Whether a value has more dimensions than x, as by numbers that have.
  bool changes_rank(const Node* node, const Node* x) const {
    const auto own = ranks_.find(node), from = ranks_.find(x);
    return own != ranks_.end() && from != ranks_.end() && own->second != from->second;
  }

  bool replace(Node* node, const char* op, Node* x) {
    if (changes_rank(node, x)) return false;
    finish(node, graph_.add_op(node->name, op, {}, {x}, node));
    return true;
  }

  void finish(Node* node, Node* replacement) {
    const std::string name = node->name;
    if (const auto rank = ranks_.find(node); rank != ranks_.end()) ranks_[replacement] = rank->second;
    ranks_.erase(node);  // another node may get its memory
    graph_.replace_uses(node, replacement);
    graph_.erase(node);
    graph_.rename(replacement, name);
  }

  Graph& graph_;
  Ranks ranks_;
  Looking look_;
};

}  // namespace

void recognize_patterns(Graph& graph, Ranks ranks) { Patterns(graph, std::move(ranks)).recognize(); }

}  // namespace thimble::onnx
