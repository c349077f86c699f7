// An ONNX model. One that is imported runs or says why not, and is saved and loaded again.
#include <algorithm>
#include <random>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate_protobuf.h"
#include <thimble/core/tensor.h>
#include <thimble/nn/graph/sample.h>
#include <thimble/serialization/checkpoint.h>
#include <thimble/serialization/onnx/importer.h>

using namespace thimble;

namespace {

// What would only take long is left out: the importer's limits are meant for files, and allow gigabytes.
constexpr int64_t kMostElements = 1 << 14;
constexpr double kSlack = 1 << 20;  // inputs are small, and so are the models that reach the limits

void run(nn::Graph& graph) {
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
