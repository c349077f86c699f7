// Conditional: one of two graphs runs, as a condition says that is computed.
#pragma once

#include <memory>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/graph/owns_graphs.h>

namespace thimble::nn {

/// Called with the condition, of one element, and whatever the graphs read; gives the first output of `then_graph`
/// where the condition is not 0, else that of `else_graph`. Both are parts of this layer: their parameters are its
/// own, named "then.conv.weight". Gradients flow through the graph that runs. ONNX calls it If.
///
/// In inference it is a step of a program where both graphs give one shape, whatever the values, or the condition is
/// known and the graph does that it names; else the graph around it runs node by node. What the other graph says
/// against the inputs matters to nobody.
class THIMBLE_API Conditional : public Module, public OwnsGraphs {
 public:
  /// Of two graphs, each with the numbers of the layer's inputs that are its own inputs, in their order.
  struct Inputs {
    std::vector<int64_t> of_then, of_else;
  };

  /// Throws ValueError for unsound graphs and for numbers that do not fit them.
  Conditional(Graph then_graph, Graph else_graph, Inputs inputs);

  Tensor forward_all(std::span<const Tensor> inputs) override;
  std::unique_ptr<InferenceStep> inference_step(std::span<const ValueInfo> inputs) const override;
  bool has_side_effects() const override;
  std::string type() const override { return "Conditional"; }
  Attributes attributes() const override;

  std::vector<const Graph*> graphs() const override;
  std::shared_ptr<Module> with_graphs(std::vector<Graph> graphs) const override;

  /// Without graphs, for with_graphs(): it can be neither run nor copied.
  explicit Conditional(Inputs inputs) : inputs_(std::move(inputs)) {}

 private:
  std::shared_ptr<Graph> then_, else_;
  Inputs inputs_;
};

}  // namespace thimble::nn
