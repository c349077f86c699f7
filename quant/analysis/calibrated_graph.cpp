#include <unordered_map>
#include <utility>

#include <thimble/core/tensor.h>
#include <thimble/quant/analysis/calibrated_graph.h>
#include <thimble/quant/passes/as_convolutions.h>
#include <thimble/quant/passes/node_roles.h>

namespace thimble::quant {

using nn::Graph;
using nn::Node;

void Product::configure(QConfigMapping& mapping, const std::optional<QConfig>& call_config) const {
  mapping.set_name(name, call_config);
  for (const std::string& call : other_calls) mapping.set_name(call, call_config);
}

CalibratedGraph::CalibratedGraph(const Graph& graph, const QConfigMapping& mapping, Calibrate calibrate)
    : reference_(as_convolutions(graph)), mapping_(mapping), calibrate_(std::move(calibrate)) {
  reference_.eval();
  const Graph prepared = calibrated(mapping);
  std::unordered_map<std::string, size_t> index_of;
  for (const Node* node : prepared.nodes()) {
    if (!is_product(prepared, node) || !is_marked(node)) continue;
    const auto [known, is_new] = index_of.try_emplace(node->target, products_.size());
    if (is_new)
      products_.push_back({node->name, type_of(prepared, node), *mapping.find(node->name, types_of(prepared, node))});
    else
      products_[known->second].other_calls.push_back(node->name);
  }
}

Graph CalibratedGraph::quantized(const QConfigMapping& mapping, ConversionReport* report) {
  if (!wants_integers(reference_, mapping)) {
    check_names("prepare", reference_, mapping);
    return kept_float(report);
  }
  Graph prepared = calibrated(mapping);
  decide_scales(prepared);
  return convert(prepared, report);
}

// What there is to compare with if the only layer is to stay float.
Graph CalibratedGraph::kept_float(ConversionReport* report) const {
  if (!report) return reference_.clone();
  report->clear();
  const auto add = [&](const std::string& name, const std::string& type) {
    report->push_back({name, type, 32, 32, true, "its configuration keeps it float"});
  };
  for (const Product& product : products_) {
    add(product.name, product.type);
    for (const std::string& call : product.other_calls) add(call, product.type);
  }
  return reference_.clone();
}

Graph CalibratedGraph::calibrated(const QConfigMapping& mapping) {
  Graph prepared = prepare(reference_, mapping);
  if (take_known_observers(prepared)) return prepared;
  {
    const NoGrad guard;
    calibrate_(prepared);
  }
  remember_observers(prepared);
  return prepared;
}

// The prepared graph computes in floats, so that a value is the same whatever else is to be quantized.
bool CalibratedGraph::take_known_observers(Graph& prepared) const {
  std::vector<std::pair<Node*, std::shared_ptr<nn::Module>>> known;
  for (Node* node : prepared.nodes()) {
    const Observer* wanted = observer_of(prepared, node);
    if (!wanted) continue;
    const auto it = observers_.find(node->name);
    if (it == observers_.end() || it->second->type() != wanted->type()) return false;
    if (dynamic_cast<const Observer&>(*it->second).spec() != wanted->spec()) return false;
    known.emplace_back(node, it->second);
  }
  for (auto& [node, observer] : known) prepared.replace_layer(node, std::move(observer));
  return true;
}

void CalibratedGraph::remember_observers(const Graph& prepared) {
  for (const Node* node : prepared.nodes())
    if (observer_of(prepared, node)) observers_.insert_or_assign(node->name, prepared.child(node->target));
}

void CalibratedGraph::decide_scales(Graph& prepared) {
  for (Node* node : prepared.nodes()) {
    if (!is_marked(node) || !is_product(prepared, node)) continue;
    WeightQuantization weight = weight_quantization_of(node);
    const auto [scale, is_new] = scales_.try_emplace(str(node->target, ": ", weight.to_attributes()));
    if (is_new) scale->second = weight.qparams(weight_of(prepared, node).data()).scale;
    weight.scale = scale->second;
    mark(node, weight);
  }
}

}  // namespace thimble::quant
