#include <map>
#include <string>
#include <unordered_map>

#include <thimble/quant/passes/fuse.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/passes/prepare.h>
#include <thimble/quant/passes/shared_layers.h>
#include <thimble/quant/qat/qat.h>
#include <thimble/quant/qat/qat_layers.h>
#include <thimble/quant/qat/qat_recurrent.h>

namespace thimble::quant {

namespace {

using nn::Graph;
using nn::Node;

std::shared_ptr<Observer> fake_quantize_for(const QConfig& config, const QATOptions& options) {
  // Of the values of a network that changes, the extremes ever seen say little.
  const std::string observer = config.observer == "minmax" ? "moving-average" : config.observer;
  FakeQuantize::Options fake{.spec = config.activation, .learned = options.learned_step_size, .batched = true};
  if (!fake.learned) fake.observer = make_observer(observer, config.activation, {.percentile = config.percentile});
  return std::make_shared<FakeQuantize>(fake);
}

// The batch normalization that the fusion found behind each layer.
std::map<std::string, std::string> batch_norms_of(const Graph& graph, const FusionReport& report) {
  std::map<std::string, std::string> found;
  for (const FusionAttempt& attempt : report)
    if (attempt.fused && graph.layer_as<nn::BatchNorm>(graph.find(attempt.with))) found[attempt.node] = attempt.with;
  return found;
}

// A layer of this type with a float layer's tensors. To register a tensor makes it trainable: what was frozen is frozen
// again.
template <typename Trained, typename Float>
std::shared_ptr<Trained> trained_form_of(const Float& layer, std::shared_ptr<nn::BatchNorm> bn,
                                         const QATLayerOptions& options) {
  const bool weight_learns = layer.weight.requires_grad();
  const bool bias_learns = layer.bias.defined() && layer.bias.requires_grad();
  auto made = std::make_shared<Trained>(layer, std::move(bn), options);
  made->weight.set_requires_grad(weight_learns);
  if (made->bias.defined()) made->bias.set_requires_grad(bias_learns);
  made->initialize(made->weight);
  return made;
}

class QATPreparer {
 public:
  QATPreparer(const Graph& graph, const QConfigMapping& mapping, const QATOptions& options)
      : original_(graph.clone()), options_(options) {
    original_.eval();  // in training mode batch normalization would not be fused
    fuse_and_prepare(mapping);
    if (leave_batch_norms_of_float_layers()) fuse_and_prepare(mapping);
    check_calls_agree("prepare_qat", graph_);
  }

  Graph run() {
    for (Node* node : graph_.nodes())
      if (!is_marked(node))
        continue;
      else if (is_product(graph_, node) && !graph_.layer_as<QATLayer>(node))
        graph_.replace_layer(node, trained_form(node));  // of all its calls
      else if (is_recurrent(graph_, node) && !graph_.layer_as<QATRecurrent>(node))
        graph_.replace_layer(node, trained_recurrent(node));
    graph_.train();
    graph_.verify();
    return std::move(graph_);
  }

 private:
  void fuse_and_prepare(const QConfigMapping& mapping) {
    FusionReport report;
    const Graph fused = fuse_for_training(original_, &report);
    batch_norms_ = batch_norms_of(original_, report);
    graph_ = prepare_for_training(fused, mapping,
                                  [&](const QConfig& config) { return fake_quantize_for(config, options_); });
  }

  // In a layer that stays float, normalization would be a constant, and no longer learn: it shall not be fused. Returns
  // whether there was any.
  bool leave_batch_norms_of_float_layers() {
    bool any = false;
    for (const auto& [node, bn] : batch_norms_) {
      if (is_marked(graph_.find(node))) continue;
      original_.layer(original_.find(bn)).set_own_mode(/*training=*/true);
      any = true;
    }
    return any;
  }

  // The layer as it was before fusion, with what was fused into it.
  std::shared_ptr<nn::Module> trained_form(const Node* node) const {
    const Node* original = original_.find(node->name);
    const QATLayerOptions options{.weight = weight_quantization_of(node).spec,
                                  .learned = options_.learned_step_size,
                                  .relu = has_relu(graph_, node)};
    if (const auto* conv = original_.layer_as<nn::Conv2d>(original))
      return trained_form_of<QATConv2d>(*conv, batch_norm_of(node), options);
    const auto* linear = original_.layer_as<nn::Linear>(original);
    return trained_form_of<QATLinear>(*linear, batch_norm_of(node), options);
  }

  std::shared_ptr<nn::Module> trained_recurrent(const Node* node) const {
    return qat_recurrent(*graph_.layer_as<nn::RecurrentLayer>(node), weight_quantization_of(node).spec,
                         options_.learned_step_size);
  }

  std::shared_ptr<nn::BatchNorm> batch_norm_of(const Node* node) const {
    const auto it = batch_norms_.find(node->name);
    if (it == batch_norms_.end()) return nullptr;
    return std::dynamic_pointer_cast<nn::BatchNorm>(nn::copy_layer(original_.layer(original_.find(it->second))));
  }

  Graph original_, graph_;
  QATOptions options_;
  std::map<std::string, std::string> batch_norms_;
};

template <typename F>
void for_each_qat_layer(Graph& graph, F&& f) {
  for (Node* node : graph.nodes())
    if (auto* layer = graph.layer_as<QATLayer>(node)) f(*layer, node);
}

template <typename F>
void for_each_fake_quantize(Graph& graph, F&& f) {
  for (Node* node : graph.nodes())
    if (auto* layer = graph.layer_as<FakeQuantize>(node))
      f(*layer);
    else if (auto* recurrent = graph.layer_as<QATRecurrent>(node))
      recurrent->for_each_weight_fake_quant(f);
  for_each_qat_layer(graph, [&](QATLayer& layer, const Node*) { f(layer.weight_fake_quant()); });
}

// Of what the product reads, perhaps through ops that pass integers on; 0 if it has seen no values yet.
float input_scale(const Graph& graph, const Node* product) {
  const Node* source = product->inputs[0];
  while (!observer_of(graph, source) && passes_integers_on(graph, source)) source = source->inputs[0];
  const auto* fake = graph.layer_as<FakeQuantize>(source);
  return fake && fake->has_qparams() ? fake->qparams().scale[0] : 0;
}

}  // namespace

nn::Graph prepare_qat(const nn::Graph& graph, const QConfigMapping& mapping, const QATOptions& options) {
  return QATPreparer(graph, mapping, options).run();
}

void freeze_bn_stats(nn::Graph& graph) {
  for_each_qat_layer(graph, [](QATLayer& layer, const Node*) { layer.freeze_bn_stats(true); });
}

void disable_observer(nn::Graph& graph) {
  for_each_fake_quantize(graph, [](FakeQuantize& layer) { layer.set_observing(false); });
  // A layer whose calls read values of several scales has several integer biases; that it is trained with is none.
  std::unordered_map<QATLayer*, float> scales;
  for_each_qat_layer(graph, [&](QATLayer& layer, const Node* node) {
    const float scale = input_scale(graph, node);
    const auto [known, is_new] = scales.try_emplace(&layer, scale);
    if (!is_new && known->second != scale) known->second = 0;
  });
  for (const auto& [layer, scale] : scales) layer->set_input_scale(scale);
}
void enable_observer(nn::Graph& graph) {
  for_each_fake_quantize(graph, [](FakeQuantize& layer) { layer.set_observing(true); });
  for_each_qat_layer(graph, [](QATLayer& layer, const Node*) { layer.set_input_scale(0); });
}
void disable_fake_quant(nn::Graph& graph) {
  for_each_fake_quantize(graph, [](FakeQuantize& layer) { layer.set_quantizing(false); });
}
void enable_fake_quant(nn::Graph& graph) {
  for_each_fake_quantize(graph, [](FakeQuantize& layer) { layer.set_quantizing(true); });
}

}  // namespace thimble::quant
