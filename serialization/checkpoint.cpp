#include <new>
#include <unordered_map>
#include <utility>

#include <thimble/core/platform/io_error.h>
#include <thimble/core/text.h>
#include <thimble/serialization/attributes_json.h>
#include <thimble/serialization/checkpoint.h>
#include <thimble/serialization/format_metadata.h>
#include <thimble/serialization/graph_json.h>
#include <thimble/serialization/safetensors.h>
#include <thimble/serialization/shared_tensors.h>
#include <thimble/serialization/version_error.h>

namespace thimble {

namespace {

constexpr const char* kModelKind = "model";
// 1.0: the first. 1.1: checksums (and, refused by programs of 1.0, more than 4096 nodes, and NaN in notes). 1.2:
// what is frozen, what a sample of each input is like, and what ranges of dynamic layers are of (programs before it
// take one for each call; and, refused by them, groups that do not divide a layer's inputs). 1.3:
// inputs with defaults, layers with graphs inside, and attributes that are inputs (all refused by programs before it;
// so are several outputs, but by the last programs of 1.2, which know them).
// 1.4: tensors that share their elements with others, which the file holds once (refused by programs before it).
constexpr const char* kModelVersion = "1.4";

Checkpoint checkpoint_of(TensorFile file) {
  detail::check_format(file, detail::kModelFormat, kModelKind);
  const NamedArrays arrays = detail::take_tensors(file);
  Checkpoint checkpoint{
      detail::graph_from_json(detail::metadata_of(file, "graph", kModelKind), arrays.size()),
      detail::attributes_from_json(detail::parse_json(detail::metadata_of(file, "notes", kModelKind), "notes"))};
  checkpoint.graph.load_state(arrays);
  checkpoint.graph.eval();
  return checkpoint;
}

// The arrays that a loader of this JSON will ask for. What could not be loaded again is found before a file is touched.
NamedArrays arrays_for(const nn::Graph& graph, const std::string& json) {
  std::unordered_map<std::string, NDArray> by_name;  // a tensor that layers share is under the name of each
  for (const auto& [path, layer] : graph.children())
    for (const auto& [name, tensor] : layer->state()) by_name.emplace(path + '.' + name, tensor.data());
  for (const auto& [name, tensor] : graph.state()) by_name.emplace(name, tensor.data());
  NamedArrays arrays;
  try {
    for (const auto& [name, placeholder] : detail::graph_from_json(json, by_name.size()).state()) {
      const auto it = by_name.find(name);
      check<FormatError>(it != by_name.end(), "there is no tensor '", name, "'");
      arrays.emplace_back(name, it->second);
    }
  } catch (const FormatError& e) {
    throw ValueError(str("save_model: the graph could not be loaded again: ", e.what()));
  }
  return arrays;
}

// What a file holds.
struct Content {
  std::map<std::string, std::string> metadata;
  NamedArrays arrays;
};

Content content_of(const nn::Graph& graph, const Attributes& notes) {
  graph.verify();
  const std::string json = detail::graph_to_json(graph);
  Content content{{{"format", detail::kModelFormat},
                   {"format_version", kModelVersion},
                   {"graph", json},
                   {"notes", detail::attributes_to_json(notes)}},
                  arrays_for(graph, json)};
  detail::write_shared_tensors_once(content.metadata, content.arrays);
  return content;
}

}  // namespace

void save_model(const nn::Graph& graph, const std::filesystem::path& path, const Attributes& notes) {
  const Content content = content_of(graph, notes);
  save_safetensors(path, content.metadata, content.arrays);
}

int64_t saved_size(const nn::Graph& graph, const Attributes& notes) {
  const Content content = content_of(graph, notes);
  return static_cast<int64_t>(safetensors_size(content.metadata, content.arrays));
}

Checkpoint load_checkpoint(const std::filesystem::path& path, const LoadOptions& options) {
  TensorFile file = load_safetensors(path, options);
  // Layers and ops judge what they are made of by their own errors; here it is the file that is wrong. Their messages
  // hold names from the file, whatever those are.
  constexpr size_t kLongest = 1000;
  try {
    return checkpoint_of(std::move(file));
  } catch (const std::bad_alloc&) {
    throw IOError(str("cannot read ", detail::quote_path(path), ": there is not enough memory"));
  } catch (const VersionError& e) {
    throw VersionError(str(detail::quote_path(path), ": ", e.what()));
  } catch (const std::exception& e) {
    // What was thrown, which may be of a user's type, goes along.
    std::throw_with_nested(FormatError(str(detail::quote_path(path), ": ", detail::printable(e.what(), kLongest))));
  }
}

nn::Graph load_model(const std::filesystem::path& path, const LoadOptions& options) {
  return load_checkpoint(path, options).graph;
}

}  // namespace thimble
