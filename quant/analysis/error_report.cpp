#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <unordered_map>

#include <thimble/quant/analysis/error_report.h>
#include <thimble/quant/analysis/node_values.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/passes/softmax_inputs.h>

namespace thimble::quant {

namespace {

using nn::Graph;
using nn::Node;

// Sums over all batches.
struct ErrorSums {
  int64_t elements = 0;
  double absolute = 0, largest = 0, signal = 0, noise = 0;

  void add(const NDArray& x, const NDArray& y) {
    const NDArray a = x.contiguous(), b = y.contiguous();
    const float *p = a.data<float>(), *q = b.data<float>();
    for (int64_t i = 0; i < a.numel(); ++i) {
      const double error = std::abs(double{p[i]} - double{q[i]});
      absolute += error;
      largest = std::max(largest, error);
      signal += double{p[i]} * double{p[i]};
      noise += error * error;
    }
    elements += a.numel();
  }

  TensorError result(const std::string& name, const std::string& type) const {
    const double mean = elements ? absolute / static_cast<double>(elements) : 0;
    return {name, type, elements, mean, largest, sqnr_db(signal, noise)};
  }
};

bool computes(const Node* node) { return node->kind == Node::Kind::layer || node->kind == Node::Kind::op; }

class Comparison {
 public:
  Comparison(const Graph& reference, const Graph& quantized)
      : reference_(reference.clone()), quantized_(quantized.clone()) {
    reference_.eval();
    quantized_.eval();
    for (const Node* node : quantized_.nodes()) numbers_.emplace(node->name, numbers_.size());
  }

  void add(const Tensor& batch) {
    const std::vector<Node*> nodes = reference_.nodes(), twins = quantized_.nodes();
    const std::vector<Tensor> values = reference_.run_all(std::span(&batch, 1));
    const std::vector<Tensor> twin_values = quantized_.run_all(std::span(&batch, 1));
    for (size_t i = 0; i < nodes.size(); ++i) {
      const auto number = number_of_twin(nodes[i]);
      if (!computes(nodes[i]) || !number) continue;
      const NDArray twin_value = twin_values[*number].data();
      if (is_cut_behind(nodes[i]) && twin_value.dtype() == DType::uint8) continue;
      const NDArray x = as_floats(reference_, nodes[i], values[i].data());
      const NDArray y = as_floats(quantized_, twins[*number], twin_value);
      if (!x.defined() || !y.defined()) continue;
      check<ShapeError>(x.shape() == y.shape(), "quantization_error: '", nodes[i]->name, "' is ", x.shape(),
                        " in the float graph, but ", y.shape(), " in the quantized one");
      sums_[nodes[i]].add(what_counts(nodes[i], x), what_counts(nodes[i], y));
    }
  }

  std::vector<TensorError> result() const {
    std::vector<TensorError> rows;
    for (const Node* node : reference_.nodes())
      if (const auto it = sums_.find(node); it != sums_.end())
        rows.push_back(it->second.result(node->name, type_of(reference_, node)));
    return rows;
  }

 private:
  // Conversion leaves a clamp out where its input's integers end where it would cut: they are its value.
  std::optional<size_t> number_of_twin(const Node* node) const {
    if (const auto it = numbers_.find(node->name); it != numbers_.end()) return it->second;
    return is_clamp(reference_, node) ? number_of_twin(node->inputs[0]) : std::nullopt;
  }

  // The integers in front of a clamp need only hold what that lets through; also where ops that move or select
  // elements stand between, or a concatenation. The mean of what was cut is not the mean of all.
  bool is_cut_behind(const Node* node) const {
    for (Effect effect = Effect::moves; effect == Effect::moves || effect == Effect::selects;) {
      const std::vector<Node*> users = reference_.users(node);
      if (reference_.is_output(node) || users.size() != 1) return false;
      node = users[0];
      if (is_clamp(reference_, node)) return true;
      effect = is_concat(reference_, node) ? Effect::moves : effect_of(reference_, node);
    }
    return false;
  }

  // Minus infinity in front of softmax, and the least of integers, are the same to it.
  NDArray what_counts(const Node* node, const NDArray& value) const {
    const Node* softmax = only_softmax_behind(reference_, node);
    return softmax ? as_softmax_sees(Tensor(value), softmax->attributes.get<int64_t>("axis", -1)).data() : value;
  }

  Graph reference_, quantized_;
  std::map<std::string, size_t> numbers_;  // of the quantized graph's nodes, by name
  std::unordered_map<const Node*, ErrorSums> sums_;
};

}  // namespace

double sqnr_db(double signal, double noise) {
  if (noise == 0) return std::numeric_limits<double>::infinity();
  return 10 * std::log10(signal / noise);
}

std::vector<TensorError> quantization_error(const Graph& reference, const Graph& quantized,
                                            std::span<const Tensor> batches) {
  check<ValueError>(!batches.empty(), "quantization_error: there is no batch to compare on");
  const NoGrad guard;
  Comparison comparison(reference, quantized);
  for (const Tensor& batch : batches) comparison.add(batch);
  return comparison.result();
}

std::vector<TensorError> weight_error(const Graph& reference, const Graph& quantized) {
  std::vector<TensorError> rows;
  for (const Node* node : reference.nodes()) {
    if (!is_product(reference, node)) continue;
    const Tensor& weight = weight_of(reference, node);
    const Node* twin = quantized.find(node->name);
    const NDArray integers = twin ? dequantized_weight_of(quantized, twin) : NDArray();
    if (!integers.defined()) continue;
    check<ShapeError>(weight.shape() == integers.shape(), "weight_error: the weight of '", node->name, "' is ",
                      weight.shape(), " in the float graph, but ", integers.shape(), " in the quantized one");
    ErrorSums sums;
    sums.add(weight.data(), integers);
    rows.push_back(sums.result(node->name, type_of(reference, node)));
  }
  return rows;
}

}  // namespace thimble::quant
