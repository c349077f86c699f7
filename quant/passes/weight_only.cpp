#include <thimble/quant/layers/weight_only_linear.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/passes/replace_products.h>
#include <thimble/quant/passes/weight_only.h>

namespace thimble::quant {

nn::Graph quantize_weight_only(const nn::Graph& graph, const QConfigMapping& mapping, ConversionReport* report) {
  const auto obstacle = [](const nn::Module& layer) -> std::string {
    return dynamic_cast<const nn::Linear*>(&layer) ? obstacle_of(layer) : "weight-only products are of linear layers";
  };
  const auto make = [](const nn::Module& layer, const QConfig& config) {
    return WeightOnlyLinear::from_float(dynamic_cast<const nn::Linear&>(layer), config.weight,
                                        layer.type() == "LinearReLU", config.weight_observer);
  };
  return replace_products(
      graph, mapping, {.pass = "quantize_weight_only", .obstacle = obstacle, .make = make, .keeps_activations = true},
      report);
}

}  // namespace thimble::quant
