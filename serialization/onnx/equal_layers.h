// Nodes of a model that read the same initializers are calls of one layer.
#pragma once

#include <thimble/nn/graph/graph.h>

namespace thimble::onnx {

/// Has nodes whose layers are of one type, configuration and memory call the first one's: they are trained and
/// quantized as one, and a file holds their weights once.
void merge_equal_layers(nn::Graph& graph);

}  // namespace thimble::onnx
