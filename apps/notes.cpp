#include "apps/notes.h"

#include <algorithm>

namespace thimble::apps {

Attributes Notes::to_attributes() const {
  Attributes a{{"model", model},
               {"dataset", dataset},
               {"method", method},
               {"parameters", parameters},
               {"input_shape", input_shape.to_vector()}};
  for (const auto& [key, value] : preprocessing.to_attributes()) a.set("preprocessing." + key, value);
  return a;
}

Notes Notes::from_attributes(const Attributes& a) {
  Notes notes;
  notes.model = a.get<std::string>("model");
  notes.dataset = a.get<std::string>("dataset");
  notes.method = a.get<std::string>("method");
  notes.parameters = a.get<int64_t>("parameters");
  notes.input_shape = Shape(a.get<std::vector<int64_t>>("input_shape"));
  constexpr int64_t kMostInputs = int64_t{1} << 24;
  int64_t inputs = 1;
  for (int64_t d : notes.input_shape) {
    check<FormatError>(d >= 1 && d <= kMostInputs / inputs, "notes: input_shape ", notes.input_shape);
    inputs *= d;
  }
  const std::string prefix = "preprocessing.";
  Attributes preprocessing;
  for (const auto& [key, value] : a)
    if (key.starts_with(prefix)) preprocessing.set(key.substr(prefix.size()), value);
  notes.preprocessing = data::Preprocessing::from_attributes(preprocessing);
  return notes;
}

LoadedModel load(const std::string& path) {
  Checkpoint checkpoint = load_checkpoint(path);
  try {
    return {std::move(checkpoint.graph), Notes::from_attributes(checkpoint.notes)};
  } catch (const Error& e) {
    throw FormatError(str(path, ": ", e.what(), "; the program needs a model that it trained itself"));
  }
}

std::string dtype_of(const nn::Graph& graph) {
  const auto nodes = graph.nodes();
  const bool quantized =
      std::ranges::any_of(nodes, [&](const nn::Node* node) { return graph.is_layer(node, "QuantizedLinear"); });
  return quantized ? "int8" : "float32";
}

}  // namespace thimble::apps
