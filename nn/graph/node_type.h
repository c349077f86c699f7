// What a node of a graph is called. Internal to the library and its program.
#pragma once

#include <string>

#include <thimble/nn/graph/graph.h>

namespace thimble::nn {

/// The layer's type, or the op; for other nodes their target.
inline std::string type_of(const Graph& graph, const Node* node) {
  return node->kind == Node::Kind::layer ? graph.layer(node).type() : node->target;
}

}  // namespace thimble::nn
