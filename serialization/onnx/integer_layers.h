// From what a quantized model computes, dequantized, to integer layers. Internal.
#pragma once

#include <unordered_map>
#include <unordered_set>

#include <thimble/nn/graph/graph.h>
#include <thimble/quant/quantize.h>
#include <thimble/serialization/onnx/integer_products.h>
#include <thimble/serialization/onnx/integer_sums.h>
#include <thimble/serialization/onnx/patterns.h>

namespace thimble::onnx {

/// What an imported graph does not tell.
struct QuantizedModel {
  std::unordered_map<const nn::Node*, QuantizedOperands> products;  ///< layers whose weights were dequantized
  ImportedSums sums;
  std::unordered_set<const nn::Node*> other_inputs;  ///< of the graph, which are not float32
};

/// Replaces what stands between the ops dequantize_linear and quantize_linear by integer layers, where the integers
/// come out as they would: products, additions, multiplications, concatenations, functions of one value (as tables),
/// and what merely moves values. Signed integers of activations become unsigned ones, shifted. Products of floats by
/// dequantized weights become weight-only layers. The rest stays: it computes with dequantized values, and is reported,
/// if a report is given.
void use_integer_layers(nn::Graph& graph, const QuantizedModel& model, Ranks ranks, quant::ConversionReport* report);

}  // namespace thimble::onnx
