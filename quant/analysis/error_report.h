// How far a quantized graph's values are from the float graph's, layer by layer.
//
//   for (const quant::TensorError& e : quant::quantization_error(fused, int8, batches))
//     std::cout << e.name << ": " << e.sqnr_db << " dB\n";
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>
#include <thimble/nn/graph/graph.h>

namespace thimble::quant {

/// The error of one tensor: x in the float graph, x' in the quantized one.
struct THIMBLE_API TensorError {
  std::string name;       ///< of the node
  std::string type;       ///< of its layer or op in the float graph
  int64_t elements = 0;   ///< compared
  double mean_error = 0;  ///< mean |x - x'|
  double largest_error = 0;
  /// Signal to quantization noise, 10 log10(sum x^2 / sum (x - x')^2). Infinite if x' is x everywhere; minus infinity
  /// if it is not, but x is 0 everywhere.
  double sqnr_db = 0;
};

/// The values that nodes give for these batches of inputs: a row for each layer and op of the float graph (in its
/// order) that the quantized graph has a node of the same name for, as conversion keeps it. Integers are compared as
/// what they stand for, and what softmax alone reads as that sees it: below the largest of its line, and no farther
/// than counts, so that minus infinity is a number. Errors add up on the way: a layer's own share is told by quantizing
/// it alone (see sensitivity.h). Give the fused graph; without fusion, a layer's value before its ReLU would be
/// compared with the one after it. Throws ValueError without batches, ShapeError for values that differ in shape.
THIMBLE_API std::vector<TensorError> quantization_error(const nn::Graph& reference, const nn::Graph& quantized,
                                                        std::span<const Tensor> batches);

/// The same for the weights of linear and convolutional layers, a row for each that is an integer layer in the
/// quantized graph.
THIMBLE_API std::vector<TensorError> weight_error(const nn::Graph& reference, const nn::Graph& quantized);

/// 10 log10(signal / noise), for powers or energies, with the conventions of TensorError::sqnr_db.
THIMBLE_API double sqnr_db(double signal, double noise);

}  // namespace thimble::quant
