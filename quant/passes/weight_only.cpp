#include <thimble/quant/layers/weight_only_linear.h>
#include <thimble/quant/passes/fuse.h>
#include <thimble/quant/passes/weight_only.h>

namespace thimble::quant {

namespace {

// Why a layer stays float; empty if it does not.
std::string obstacle(const nn::Module& layer, const QuantizationSpec& weight) {
  if (layer.type() != "Linear" && layer.type() != "LinearReLU") return "weight-only products are of linear layers";
  const int64_t in_features = dynamic_cast<const nn::Linear&>(layer).in_features();
  if (weight.group_size > 0 && in_features % weight.group_size != 0)
    return str("groups of ", weight.group_size, " do not divide its ", in_features, " input features");
  return {};
}

}  // namespace

nn::Graph quantize_weight_only(const nn::Graph& graph, const QuantizationSpec& weight, ConversionReport* report) {
  nn::Graph result = fuse_conv_bn_relu(graph);
  result.eval();
  ConversionReport entries;
  for (const nn::Node* node : result.nodes())
    if (node->kind == nn::Node::Kind::layer && !result.layer(node).parameters().empty())
      entries.push_back(
          {.name = node->name, .type = result.layer(node).type(), .reason = obstacle(result.layer(node), weight)});
  for (LayerReport& entry : entries) {
    if (!entry.reason.empty()) continue;
    nn::Node* node = result.find(entry.name);
    // A layer that is called more than once is replaced with its first call.
    if (const auto* linear = result.layer_as<nn::Linear>(node))
      result.replace_layer(node, nn::detail::named_in_errors(node->name, [&] {
                             return WeightOnlyLinear::from_float(*linear, weight, entry.type == "LinearReLU");
                           }));
    entry.weight_bits = weight.bits;
    entry.kept_float = false;
  }
  result.verify();
  if (report) *report = std::move(entries);
  return result;
}

}  // namespace thimble::quant
