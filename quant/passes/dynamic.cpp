#include <thimble/quant/layers/dynamic_layers.h>
#include <thimble/quant/passes/dynamic.h>
#include <thimble/quant/passes/fuse.h>
#include <thimble/quant/passes/node_roles.h>

namespace thimble::quant {

namespace {

std::shared_ptr<nn::Module> dynamic_layer(const nn::Module& layer, const QConfig& config) {
  const bool relu = layer.type().ends_with("ReLU");
  WeightQuantization weight{config.weight, config.weight_observer};
  if (const auto* conv = dynamic_cast<const nn::Conv2d*>(&layer)) {
    weight.spec.group_size = 0;  // groups are for linear layers
    return DynamicQuantizedConv2d::from_weights({conv->weight, conv->bias, weight.qparams(conv->weight.data())},
                                                conv->options(), config.activation.bits, relu);
  }
  const auto& linear = dynamic_cast<const nn::Linear&>(layer);
  return DynamicQuantizedLinear::from_weights({linear.weight, linear.bias, weight.qparams(linear.weight.data())},
                                              config.activation.bits, relu);
}

// Whether a layer that stays float is worth a word.
bool has_weights(const nn::Graph& graph, const nn::Node* node) {
  return node->kind == nn::Node::Kind::layer && !graph.layer(node).parameters().empty();
}

}  // namespace

nn::Graph quantize_dynamic(const nn::Graph& graph, const QConfigMapping& mapping, ConversionReport* report) {
  nn::Graph result = fuse_conv_bn_relu(graph);
  result.eval();
  check_names("quantize_dynamic", result, mapping);
  ConversionReport entries;
  for (nn::Node* node : result.nodes()) {
    if (!has_weights(result, node)) continue;
    LayerReport entry{.name = node->name, .type = type_of(result, node), .reason = ""};
    const auto config = mapping.find(node->name, types_of(result, node));
    if (!is_product(result, node)) {
      entry.reason = "it has no integer form";
    } else if (!config) {
      entry.reason = "its configuration keeps it float";
    } else {
      const std::shared_ptr<nn::Module> made =
          nn::detail::named_in_errors(node->name, [&] { return dynamic_layer(result.layer(node), *config); });
      result.replace_layer(node, made);
      entry.weight_bits = config->weight.bits;
      entry.activation_bits = config->activation.bits;
      entry.kept_float = false;
    }
    entries.push_back(std::move(entry));
  }
  result.verify();
  if (report) *report = std::move(entries);
  return result;
}

}  // namespace thimble::quant
