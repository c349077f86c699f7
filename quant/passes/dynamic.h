// Dynamic quantization of a graph.
//
//   nn::Graph int8 = quant::quantize_dynamic(nn::trace(net.eval(), example));      // no data needed
#pragma once

#include <thimble/core/api.h>
#include <thimble/quant/quantize.h>

namespace thimble::quant {

/// Fuses, and makes each linear, conv2d and recurrent layer one of integer weights that quantizes its input at each
/// call by the input's own ranges, and tables of embeddings integers (QuantizedEmbedding, QuantizedEmbeddingBag);
/// everything between stays float32. Of a QConfig the weights, the activations' bits and dynamic_range count. Throws
/// ValueError for a graph of prepare() or prepare_qat(), if there is nothing to quantize, if the mapping names a node
/// that does not exist or asks for different things where one layer is called, or for weights that are not finite.
THIMBLE_API nn::Graph quantize_dynamic(const nn::Graph& graph,
                                       const QConfigMapping& mapping = QConfigMapping::static_int8(),
                                       ConversionReport* report = nullptr);

}  // namespace thimble::quant
