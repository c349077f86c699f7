// What a model is made of: parameters, multiply-adds and memory, layer by layer.
//
//   std::cout << nn::summary(net, {Tensor(NDArray::zeros({1, 1, 28, 28}))}).text();
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>

namespace thimble::nn {

/// A layer, or an op that is applied outside of layers.
struct THIMBLE_API LayerSummary {
  std::string name;  ///< its node's in the graph: "block1.conv"
  std::string type;  ///< "Conv2d", "add"
  Shape output_shape = {};
  int64_t parameters = 0;     ///< numbers to be trained; those of a layer that is called again count once
  int64_t multiply_adds = 0;  ///< of matrix products, convolutions and recurrent layers
  int64_t weight_bytes = 0;   ///< parameters and buffers, as they lie in a file
  int64_t output_bytes = 0;
};

/// What summary() gives.
struct THIMBLE_API ModelSummary {
  std::vector<LayerSummary> layers;  ///< in the order in which they run
  // Sums over all layers, and over tensors that no layer holds.
  int64_t parameters = 0, multiply_adds = 0, weight_bytes = 0, output_bytes = 0;

  /// A table with a line for each layer, and the sums.
  std::string text() const;
};

/// Runs the model on the inputs, in evaluation mode, and counts. Multiply-adds are those of the plain sum, however it
/// is computed; those of elementwise ops, normalization, pools and einsum are not counted. Throws what trace() throws.
THIMBLE_API ModelSummary summary(Module& model, const std::vector<Tensor>& inputs);
THIMBLE_API ModelSummary summary(const Graph& graph, const std::vector<Tensor>& inputs);

}  // namespace thimble::nn
