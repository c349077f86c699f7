#include "apps/loaded_model.h"

#include <set>

#include "apps/exported_arrays.h"
#include "apps/onnx_library.h"
#include <thimble/core/text.h>
#include <thimble/nn/graph/sample.h>
#include <thimble/quant/layers/quantized_embedding.h>
#include <thimble/serialization/checkpoint.h>

namespace thimble::apps {

namespace {

// Attributes of integer layers, and of no others; dynamic ones have their own for activations.
constexpr const char *kWeightBits = "weight_bits", *kInputBits = "input_bits", *kDynamicBits = "activation_bits";

std::set<int64_t> bits_of_layers(const nn::Graph& graph, std::initializer_list<const char*> any_of) {
  std::set<int64_t> bits;
  for (const nn::Node* node : graph.nodes()) {
    if (node->kind != nn::Node::Kind::layer) continue;
    const Attributes attributes = graph.layer(node).attributes();
    for (const char* attribute : any_of)
      if (attributes.contains(attribute)) bits.insert(attributes.get<int64_t>(attribute));
  }
  return bits;
}

// Layers that compute with floats have bits, too, which are no activations'.
std::set<int64_t> bits_of_weights(const nn::Graph& graph) {
  std::set<int64_t> bits = bits_of_layers(graph, {kWeightBits});
  for (const nn::Node* node : graph.nodes())
    if (graph.is_layer(node, "WeightOnlyLinear") || graph.layer_as<quant::IntegerTable>(node))
      bits.insert(graph.layer(node).attributes().get<int64_t>("bits"));
  return bits;
}

std::string fewer_bits(const std::set<int64_t>& bits, const char* what) {
  if (bits.empty() || *bits.begin() == 8) return "";
  const std::string fewest = std::to_string(*bits.begin()), most = std::to_string(*bits.rbegin());
  return str(", ", fewest == most ? most : str(fewest, " to ", most), "-bit ", what);
}

// None if the value is missing or something else: notes of other programs may hold anything.
template <typename T>
std::optional<T> value_in(const Attributes& attributes, const std::string& key) {
  try {
    return attributes.get<T>(key);
  } catch (const FormatError&) {
    return std::nullopt;
  }
}

// Weights and biases, not what else a layer keeps (scales, running statistics).
int64_t parameters_in(const nn::Graph& graph) {
  int64_t count = graph.num_parameters();
  for (const auto& [name, layer] : graph.children()) {
    const NDArray weight = unpacked_weight(*layer);
    if (!weight.defined()) continue;
    count += weight.numel();
    for (const auto& [tensor_name, tensor] : layer->named_buffers())
      if (tensor_name == "bias") count += tensor.numel();
  }
  return count;
}

}  // namespace

const Notes& LoadedModel::need_notes() const {
  check<FormatError>(notes.has_value(), detail::quote_path(path), ": ", no_notes);
  return *notes;
}

LoadedModel load(const std::string& path) {
  if (is_onnx_file(path))
    return {path, import_onnx(path), {}, {}, "it is an ONNX model, which does not say what data it is for"};
  Checkpoint checkpoint = load_checkpoint(path);
  LoadedModel model{path, std::move(checkpoint.graph), std::move(checkpoint.notes), {}, {}};
  try {
    for (const nn::Node* input : model.graph.inputs()) nn::sample_of(*input);
  } catch (const Error& e) {
    throw FormatError(str(detail::quote_path(path), ": ", e.what()));
  }
  if (!Notes::are_in(model.attributes)) {
    model.no_notes =
        "its notes say neither what it was trained on nor how images are prepared: accuracy needs the notes dataset "
        "and preprocessing.crop, .pad, .channels, .flatten, .mean, .std, or vocabulary, as thimble train writes them";
    return model;
  }
  try {
    model.notes = Notes::from_attributes(model.attributes);
  } catch (const Error& e) {
    model.no_notes = e.what();
  }
  return model;
}

std::string method_of(const LoadedModel& model) {
  if (bits_of_weights(model.graph).empty()) return "baseline";
  const std::optional<std::string> method =
      model.notes ? model.notes->method : value_in<std::string>(model.attributes, "method");
  return method && !method->empty() ? *method : "quantized";
}

void check_is_float(const LoadedModel& model) {
  check<ValueError>(method_of(model) == "baseline", detail::quote_path(model.path),
                    " is quantized already; give the float model");
}

int64_t parameters_of(const LoadedModel& model) {
  const std::optional<int64_t> noted =
      model.notes ? model.notes->parameters : value_in<int64_t>(model.attributes, "parameters");
  return noted && *noted > 0 ? *noted : parameters_in(model.graph);
}

Attributes quantized_notes(const LoadedModel& model, const std::string& method, bool equalized) {
  Attributes notes = model.attributes;
  notes.set("method", method);
  notes.set("equalized", equalized);
  notes.set("parameters", parameters_of(model));
  return notes;
}

std::string dtype_of(const nn::Graph& graph) {
  const std::set<int64_t> bits = bits_of_weights(graph);
  return bits.empty() ? "float32" : str("int", *bits.rbegin());
}

std::string fewer_bits(const nn::Graph& graph) {
  return fewer_bits(bits_of_layers(graph, {kWeightBits}), "weights") +
         fewer_bits(bits_of_layers(graph, {kInputBits, kDynamicBits}), "activations");
}

}  // namespace thimble::apps
