// Checkpoints: a model as one safetensors file that describes itself.
//
//   save_model(graph, "net.safetensors");
//   nn::Graph loaded = load_model("net.safetensors");     // no C++ class of the model needed
//
// The file holds the graph's tensors under their qualified names, and in its metadata "format" ("thimble"),
// "format_version" ("1.4"), "graph" (JSON: the layers with their types and attributes, the nodes, the output) and
// "notes" (JSON: what the writer wants remembered, such as how inputs are prepared); checksums, since version 1.1; and
// since 1.4 "shared_tensors" (JSON), where the calls of one layer have become layers that share its weights: which
// tensors have the elements of which others, that the file holds once.
// Files of all versions 1.x load, newer ones as long as they hold nothing that this program does not know.
#pragma once

#include <filesystem>

#include <thimble/core/api.h>
#include <thimble/core/attributes.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/serialization/load_options.h>

namespace thimble {

/// Writes a graph, float or quantized. The file appears whole or not at all: an old one of this name stays until then.
/// Throws IOError; ValueError for a graph that is not sound or could not be loaded again: layers of unregistered types,
/// names and attributes with text that is not UTF-8, is longer than 256 bytes or holds control characters. Notes may
/// hold any UTF-8 text.
THIMBLE_API void save_model(const nn::Graph& graph, const std::filesystem::path& path, const Attributes& notes = {});

/// Bytes of the file that save_model() would write. Throws its ValueError.
THIMBLE_API int64_t saved_size(const nn::Graph& graph, const Attributes& notes = {});

/// The graph, runnable, in evaluation mode. Its tensors are mapped, not copied, unless LoadOptions say to read them;
/// changing them does not change the file. Several threads may call it at once and get the same answers as one after
/// the other (see nn/graph/graph.h). Throws IOError, or FormatError that names the file and what is wrong, whatever the
/// file holds. Checksums are not looked at: verify_safetensors() does that, and finds any damaged bit.
THIMBLE_API nn::Graph load_model(const std::filesystem::path& path, const LoadOptions& options = {});

/// The graph, as from load_model(), together with what save_model() was given.
struct THIMBLE_API Checkpoint {
  nn::Graph graph;
  Attributes notes;
};
THIMBLE_API Checkpoint load_checkpoint(const std::filesystem::path& path, const LoadOptions& options = {});

}  // namespace thimble
