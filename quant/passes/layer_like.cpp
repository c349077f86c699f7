#include <thimble/quant/passes/layer_like.h>

namespace thimble::quant {

Tensor tensor_of(const nn::Module& layer, std::string_view name) {
  for (const auto& [own, tensor] : layer.state())
    if (own == name) return tensor;
  return {};
}

std::shared_ptr<nn::Module> layer_like(const nn::Module& layer, const std::string& type, const NDArray& weight,
                                       const NDArray& bias) {
  Attributes attributes = layer.attributes();
  attributes.set("bias", bias.defined());
  std::shared_ptr<nn::Module> made = nn::make_layer(type, attributes);
  NamedArrays arrays{{"weight", weight}};
  if (bias.defined()) arrays.emplace_back("bias", bias);
  made->load_state(arrays);
  const Tensor own_weight = tensor_of(layer, "weight"), own_bias = tensor_of(layer, "bias");
  tensor_of(*made, "weight").set_requires_grad(own_weight.requires_grad());
  if (bias.defined())
    tensor_of(*made, "bias").set_requires_grad((own_bias.defined() ? own_bias : own_weight).requires_grad());
  made->train(layer.training());
  return made;
}

}  // namespace thimble::quant
