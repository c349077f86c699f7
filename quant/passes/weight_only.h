// Weight-only quantization of a graph: no calibration data, float32 activations.
//
//   const QuantizationSpec int4{.bits = 4, .is_signed = true, .scheme = QScheme::symmetric, .axis = 0, .group_size =
//   128}; nn::Graph small = quant::quantize_weight_only(graph, int4);
#pragma once

#include <thimble/nn/graph.h>
#include <thimble/quant/quantize.h>

namespace thimble::quant {

/// The graph, fused (fuse_conv_bn_relu), in evaluation mode, with each Linear and LinearReLU layer as a
/// WeightOnlyLinear. All else stays float. `report`, if given, is overwritten: one entry for each node whose layer has
/// parameters, with the reason if it stays float: it is no linear layer, or spec.group_size does not divide its
/// features. Throws ValueError for a spec that WeightOnlyLinear::from_float() refuses and for weights that are not
/// finite, naming the layer.
nn::Graph quantize_weight_only(const nn::Graph& graph, const QuantizationSpec& weight,
                               ConversionReport* report = nullptr);

}  // namespace thimble::quant
