// Layers that are called more than once. To integers each call is a layer of its own, for its activations have
// parameters of their own; all of them have the same weights, once. Internal to quant and the importer of ONNX.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/quant/layers/product_weights.h>

namespace thimble::quant {

/// Has each of these nodes, which call layers, call one of its own: where several nodes call one, copies, whose tensors
/// share their memory until one is written. Nodes that get one become others; returned are those that stand for
/// `nodes`.
std::vector<nn::Node*> separate_calls(nn::Graph& graph, const std::vector<nn::Node*>& nodes);

/// Where integer weights were made of the same float weights, one array for all.
class THIMBLE_API CommonWeights {
 public:
  /// quantization.qparams(origin), which may be a long search: once for the same memory.
  QParams qparams(const WeightQuantization& quantization, const NDArray& origin);
  /// Gives the layer, an integer product that was made of `origin`, the weights (and the scales) of one before that was
  /// made of the same memory and has equal ones.
  void share(const NDArray& origin, const nn::Module& layer);

 private:
  struct Made {
    NDArray origin;  // held, so that its memory does not become another's
    std::vector<Tensor> tensors;
  };
  std::unordered_multimap<const void*, Made> made_;  // by the origin's address
  std::map<std::pair<const void*, std::string>, std::pair<NDArray, QParams>> qparams_;
};

/// Groups of nodes, in order, that call products whose weights are the same memory and quantized alike.
std::vector<std::vector<nn::Node*>> by_weight(const nn::Graph& graph, const std::vector<nn::Node*>& products);

/// Throws ValueError, with the name of the pass in front, if calls of one product differ in whether they are marked, or
/// in how weights are quantized.
void check_calls_agree(const char* pass, const nn::Graph& graph);

}  // namespace thimble::quant
