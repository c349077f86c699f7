#include <thimble/nn/fused.h>
#include <thimble/quant/fuse.h>

namespace thimble::quant {

namespace {

// The linear node whose output this relu node alone uses, if the two may be fused.
nn::Node* fusable_linear(const nn::Graph& graph, const nn::Node* relu) {
  if (!graph.is_op(relu, "relu")) return nullptr;
  nn::Node* linear = relu->inputs[0];
  const bool fusable = graph.is_layer(linear, "Linear") && graph.calls_of_layer(linear) == 1 &&
                       graph.users(linear).size() == 1 && graph.output() != linear;
  return fusable ? linear : nullptr;
}

}  // namespace

nn::Graph fuse_conv_bn_relu(const nn::Graph& graph) {
  nn::Graph fused = graph.clone();
  for (nn::Node* relu : fused.nodes()) {
    nn::Node* linear = fusable_linear(fused, relu);
    if (!linear) continue;
    const auto* layer = fused.layer_as<nn::Linear>(linear);
    auto merged = std::make_shared<nn::LinearReLU>(layer->weight, layer->bias);
    merged->train(layer->training());
    fused.replace_layer(linear, std::move(merged));
    fused.replace_uses(relu, linear);
    fused.erase(relu);
  }
  fused.verify();
  return fused;
}

}  // namespace thimble::quant
