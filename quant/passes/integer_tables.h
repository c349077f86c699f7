// Tables of embeddings become integers, in every method alike. Internal to quant.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <thimble/nn/graph/graph.h>
#include <thimble/quant/layers/quantized_embedding.h>
#include <thimble/quant/passes/node_roles.h>

namespace thimble::quant {

/// Replaces the layers whose tables the nodes of one graph read. Products whose weights are the memory of a table
/// (output layers that are tied to it) keep it in common with the table where their integers can be the table's.
class IntegerTables {
 public:
  /// Before anything is replaced.
  explicit IntegerTables(const nn::Graph& graph);

  /// Why a table had better stay float: if a product keeps its numbers as floats, integers would come on top. Empty if
  /// it need not. stays_float is asked by the product's name.
  std::string obstacle_of(const nn::Node* table,
                          const std::function<bool(const std::string& product)>& stays_float) const;

  /// To be called when products have been replaced; for each call of a layer, since those may be several. Returns what
  /// is to be said of it: why a table is no longer that of a product; empty if there is nothing. Throws what
  /// WeightQuantization::qparams() throws, with the node's name in front.
  std::string replace(nn::Node* table, nn::Graph& graph, const WeightQuantization& quantization);

 private:
  struct Made {
    NDArray origin;  // held, so that its memory does not become another's
    std::shared_ptr<IntegerTable> layer;
  };

  std::shared_ptr<IntegerTable> made_for(const nn::Node* table, const nn::Graph& graph,
                                         const WeightQuantization& quantization, std::string& remark) const;

  std::map<std::string, std::vector<std::string>> products_;  // by table
  std::map<std::string, std::string> remarks_;                // by layer that was replaced
  std::vector<Made> made_;
};

/// How a table is quantized by a configuration of which the bits and the observer of weights count: affine, by row.
WeightQuantization table_quantization(const QConfig& config);

}  // namespace thimble::quant
