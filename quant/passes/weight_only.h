// Weight-only quantization of a graph: no calibration data, float32 activations.
//
//   quant::QConfig int4;
//   int4.weight = {.bits = 4, .is_signed = true, .scheme = quant::QScheme::symmetric, .axis = 0, .group_size = 128};
//   nn::Graph small = quant::quantize_weight_only(graph, quant::QConfigMapping().set_global(int4));
#pragma once

#include <thimble/core/api.h>
#include <thimble/quant/quantize.h>

namespace thimble::quant {

/// The graph, fused (fuse_conv_bn_relu), in evaluation mode, with linear layers as WeightOnlyLinear, and embeddings
/// as QuantizedEmbedding and QuantizedEmbeddingBag (affine by row, whatever the scheme). Of a QConfig the
/// weights and their observer count; the weights may be affine, too. Convolutions stay float. `report`, if given, is
/// overwritten: one entry for each node whose layer has parameters. Throws ValueError for a graph of prepare() or
/// prepare_qat(), if there is nothing to quantize, if the mapping asks for different things where one layer is called,
/// and, naming the layer, for weights that are not finite or a spec or observer that WeightOnlyLinear::from_float()
/// refuses.
THIMBLE_API nn::Graph quantize_weight_only(const nn::Graph& graph, const QConfigMapping& mapping,
                                           ConversionReport* report = nullptr);

}  // namespace thimble::quant
