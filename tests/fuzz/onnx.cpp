// An ONNX model. One that is imported runs or says why not, and is saved and loaded again.
#include <algorithm>
#include <cmath>
#include <random>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate_protobuf.h"
#include <thimble/core/tensor.h>
#include <thimble/nn/graph/owns_graphs.h>
#include <thimble/nn/graph/sample.h>
#include <thimble/serialization/checkpoint.h>
#include <thimble/serialization/onnx/importer.h>

using namespace thimble;

namespace {

// What would only take long is left out: the importer's limits are meant for files, and allow gigabytes.
constexpr int64_t kMostElements = 1 << 14;
constexpr double kSlack = 1 << 20;  // inputs are small, and so are the models that reach the limits

constexpr double kMostSizes = 256;

double product_of(const std::vector<double>& numbers) {
  double product = 1;
  for (const double number : numbers) product *= std::max(std::abs(number), 1.0);
  return product;
}

double magnitude(const Attribute& value) {
  if (const auto* number = std::get_if<int64_t>(&value)) return std::abs(static_cast<double>(*number));
  if (const auto* list = std::get_if<std::vector<int64_t>>(&value)) return product_of({list->begin(), list->end()});
  const auto* list = std::get_if<std::vector<double>>(&value);
  return list ? product_of(*list) : 1;
}

// A graph takes what its sizes ask for. They are attributes, and tensors of few elements.
bool asks_for_little(const nn::Graph& graph) {
  constexpr int64_t kFew = 8;
  for (const nn::Node* node : graph.nodes()) {
    const bool is_list = node->kind == nn::Node::Kind::tensor && graph.tensor(node).numel() <= kFew;
    if (is_list && !(product_of(graph.tensor(node).data().to_vector<double>()) <= kMostSizes)) return false;
    for (const auto& [key, value] : node->attributes)
      if (node->kind == nn::Node::Kind::op && node->target != "slice" && !(magnitude(value) <= kMostSizes))
        return false;
    const auto* owner = graph.layer_as<nn::OwnsGraphs>(node);
    if (owner && !std::ranges::all_of(owner->graphs(), [](const nn::Graph* g) { return asks_for_little(*g); }))
      return false;
  }
  return true;
}

void run(nn::Graph& graph) {
  if (!asks_for_little(graph)) return;
  std::vector<Tensor> inputs;
  for (const nn::Node* input : graph.inputs()) {
    const auto sample = nn::sample_of(*input);
    if (!sample) return;
    Shape shape = sample->shape;
    shape.insert(0, 2);
    int64_t elements = 1;
    for (const int64_t size : shape)
      if (__builtin_mul_overflow(elements, size, &elements) || elements > kMostElements) return;
    inputs.emplace_back(NDArray::full(shape, 0.5).to(sample->dtype));
  }
  fuzz::survive([&] {
    for (const Tensor& y : graph.call_outputs(inputs)) fuzz::touch(y.data().contiguous());
  });
}

void save_and_load(const nn::Graph& graph) {
  static const fuzz::Folder folder;
  fuzz::survive([&] {
    save_model(graph, folder / "model");
    load_model(folder / "model");
  });
}

}  // namespace

size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  std::minstd_rand random(seed);
  ::onnx::ModelProto model;
  if (random() % 8 == 0 || !model.ParseFromArray(data, static_cast<int>(size)))
    return LLVMFuzzerMutate(data, size, max_size);
  for (size_t changes = 1 + random() % 3; changes > 0; --changes) fuzz::mutate_message(model, random);
  const std::string bytes = model.SerializePartialAsString();
  if (bytes.empty() || bytes.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::ranges::copy(bytes, data);
  return bytes.size();
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ::onnx::ModelProto model;
  if (!model.ParseFromArray(data, static_cast<int>(size)) || !model.has_graph()) return -1;
  fuzz::survive([&] {
    nn::Graph graph = thimble::onnx::Importer(model, "/nowhere", {}, kSlack).run();
    save_and_load(graph);
    run(graph);
  });
  return 0;
}
