// The module graph as JSON text. Internal to serialization.
#pragma once

#include <cstddef>
#include <string>

#include <thimble/nn/graph/graph.h>

namespace thimble::detail {

/// {"layers": [{"name", "type", "attributes"}], "nodes": [{"name", "kind", "target", "inputs", "attributes"}],
/// "output"}. Throws ValueError for names and other text with control characters, that is not UTF-8, or longer than
/// 256 bytes, and for attributes that are NaN.
std::string graph_to_json(const nn::Graph& graph);

/// The graph, its tensors still to be loaded (their elements take no memory until then). Throws an Error that says what
/// is wrong for any text that graph_to_json did not write, and for layers of far more tensors than `tensors`, which is
/// how many there will be: a few words can describe a layer of thousands.
nn::Graph graph_from_json(const std::string& text, size_t tensors);

}  // namespace thimble::detail
