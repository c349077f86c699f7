// Leaf layers with graphs inside: attributes alone do not make their like.
#pragma once

#include <memory>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>

namespace thimble::nn {

/// Copies and files go through this. A layer's factory makes it without graphs, ready for nothing but with_graphs().
class THIMBLE_API OwnsGraphs {
 public:
  virtual ~OwnsGraphs() = default;
  /// None, if it was made without.
  virtual std::vector<const Graph*> graphs() const = 0;
  /// A layer of the same attributes with these. Throws ValueError for another number of graphs, or unsound ones.
  virtual std::shared_ptr<Module> with_graphs(std::vector<Graph> graphs) const = 0;
};

}  // namespace thimble::nn
