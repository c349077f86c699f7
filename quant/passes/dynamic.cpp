#include <thimble/quant/layers/dynamic_layers.h>
#include <thimble/quant/layers/quantized_recurrent.h>
#include <thimble/quant/passes/dynamic.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/passes/replace_products.h>

namespace thimble::quant {

namespace {

std::shared_ptr<nn::Module> dynamic_layer(const nn::Module& layer, const QConfig& config) {
  const bool relu = layer.type().ends_with("ReLU");
  WeightQuantization weight{config.weight, config.weight_observer};
  if (const auto* conv = dynamic_cast<const nn::Conv2d*>(&layer)) {
    weight.spec.group_size = 0;  // groups are for linear layers
    return DynamicQuantizedConv2d::from_weights({conv->weight, conv->bias, weight.qparams(conv->weight.data())},
                                                conv->options(), config.activation.bits, relu, config.dynamic_range);
  }
  if (const auto* recurrent = dynamic_cast<const nn::RecurrentLayer*>(&layer)) {
    weight.spec.group_size = 0;
    return QuantizedRecurrent::from_float(*recurrent, {.weight = weight, .activation_bits = config.activation.bits});
  }
  const auto& linear = dynamic_cast<const nn::Linear&>(layer);
  return DynamicQuantizedLinear::from_weights({linear.weight, linear.bias, weight.qparams(linear.weight.data())},
                                              config.activation.bits, relu, config.dynamic_range);
}

}  // namespace

nn::Graph quantize_dynamic(const nn::Graph& graph, const QConfigMapping& mapping, ConversionReport* report) {
  return replace_products(graph, mapping, {.pass = "quantize_dynamic", .obstacle = obstacle_of, .make = dynamic_layer},
                          report);
}

}  // namespace thimble::quant
