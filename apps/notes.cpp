#include "apps/notes.h"

#include <algorithm>
#include <set>

#include "apps/datasets.h"
#include <thimble/core/text.h>

namespace thimble::apps {

namespace {

// Names are printed.
std::string name_in(const Attributes& a, const std::string& key) {
  constexpr size_t kLongest = 80;
  const auto name = a.get<std::string>(key);
  check<FormatError>(!name.empty() && detail::printable(name, kLongest) == name, "notes: ", key, " is ",
                     detail::quote(name, kLongest), ", expected a name");
  return name;
}

// The program makes inputs of this shape, in batches: a file must not make it take all memory. 3 x 224 x 224 is
// allowed.
Shape shape_in(const Attributes& a, const std::string& key) {
  constexpr int64_t kMostElements = int64_t{1} << 18;
  const auto sizes = a.get<std::vector<int64_t>>(key);
  check<FormatError>(sizes.size() < Shape::kMaxDims, "notes: ", key, " has ", sizes.size(),
                     " dimensions, expected at most ", Shape::kMaxDims - 1);
  const Shape shape(sizes);
  int64_t elements = 1;
  for (const int64_t size : shape) {
    check<FormatError>(size >= 1 && size <= kMostElements / elements, "notes: ", key, " is ", shape,
                       ", expected positive sizes and at most ", kMostElements, " elements");
    elements *= size;
  }
  return shape;
}

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

std::string fewer_bits(const std::set<int64_t>& bits, const char* what) {
  if (bits.empty() || *bits.begin() == 8) return "";
  const std::string fewest = std::to_string(*bits.begin()), most = std::to_string(*bits.rbegin());
  return str(", ", fewest == most ? most : str(fewest, " to ", most), "-bit ", what);
}

}  // namespace

Attributes Notes::to_attributes() const {
  Attributes a{{"model", model},         {"dataset", dataset},       {"method", method},
               {"equalized", equalized}, {"parameters", parameters}, {"input_shape", input_shape.to_vector()}};
  for (const auto& [key, value] : preprocessing.to_attributes()) a.set("preprocessing." + key, value);
  return a;
}

Notes Notes::from_attributes(const Attributes& a) {
  Notes notes;
  notes.model = name_in(a, "model");
  notes.dataset = name_in(a, "dataset");
  notes.method = name_in(a, "method");
  notes.equalized = a.get("equalized", false);
  notes.parameters = a.get<int64_t>("parameters");
  check<FormatError>(notes.parameters >= 0, "notes: parameters is ", notes.parameters);
  notes.input_shape = shape_in(a, "input_shape");
  const std::string prefix = "preprocessing.";
  Attributes preprocessing;
  for (const auto& [key, value] : a)
    if (key.starts_with(prefix)) preprocessing.set(key.substr(prefix.size()), value);
  notes.preprocessing = data::Preprocessing::from_attributes(preprocessing);
  return notes;
}

std::unique_ptr<data::MNIST> open_images(const Notes& notes, const std::string& dataset, const std::string& folder,
                                         data::Split split) {
  auto images = open_dataset(dataset, folder, split, notes.preprocessing);
  check<ShapeError>(images->image_shape() == notes.input_shape, "the model takes images ", notes.input_shape,
                    ", but those of ", dataset, ", prepared as its notes say, are ", images->image_shape());
  return images;
}

LoadedModel load(const std::string& path) {
  Checkpoint checkpoint = load_checkpoint(path);
  try {
    return {std::move(checkpoint.graph), Notes::from_attributes(checkpoint.notes)};
  } catch (const Error& e) {
    throw FormatError(
        str(detail::quote_path(path), ": ", e.what(), "; the program needs a model that it trained itself"));
  }
}

std::string dtype_of(const nn::Graph& graph) {
  if (!bits_of_layers(graph, {kWeightBits}).empty()) return "int8";
  int64_t most = 0;
  for (const nn::Node* node : graph.nodes())
    if (node->kind == nn::Node::Kind::layer && graph.layer(node).type() == "WeightOnlyLinear")
      most = std::max(most, graph.layer(node).attributes().get<int64_t>("bits"));
  return most == 0 ? "float32" : str("int", most);
}

std::string fewer_bits(const nn::Graph& graph) {
  return fewer_bits(bits_of_layers(graph, {kWeightBits}), "weights") +
         fewer_bits(bits_of_layers(graph, {kInputBits, kDynamicBits}), "activations");
}

}  // namespace thimble::apps
