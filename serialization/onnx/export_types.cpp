#include <thimble/core/text.h>
#include <thimble/nn/graph/sample.h>
#include <thimble/serialization/onnx/export_types.h>

namespace thimble::onnx {

namespace {

std::vector<Tensor> examples_for(const nn::Graph& graph, int64_t batch, double value) {
  std::vector<Tensor> inputs;
  for (const nn::Node* input : graph.inputs()) {
    if (const Tensor known = graph.default_of(input); known.defined()) {
      inputs.push_back(known);
      continue;
    }
    const std::optional<nn::Sample> sample = nn::sample_of(*input);
    check<ValueError>(sample.has_value(), "export: the input ", detail::quote(input->name),
                      " does not say of what dtype and shape it is: trace the model, or give the node "
                      "nn::sample_attributes()");
    Shape shape = sample->shape;
    shape.insert(0, batch);
    inputs.emplace_back(NDArray::full(shape, value, sample->dtype));
  }
  return inputs;
}

ValueType type_of_both(const Tensor& one, const Tensor& two) {
  ValueType type{one.dtype(), one.shape().to_vector()};
  for (int d = 0; d < one.ndim() && two.ndim() == one.ndim(); ++d) {
    int64_t& size = type.sizes[static_cast<size_t>(d)];
    if (two.shape(d) != size) size = size == 1 && two.shape(d) == 2 ? ValueType::kBatch : ValueType::kFree;
  }
  return type;
}

}  // namespace

// Zeros are indices of whatever there is; ones can be divided by.
ValueTypes value_types(nn::Graph& graph) {
  double value = 0;
  std::vector<Tensor> one;
  try {
    one = graph.run_all(examples_for(graph, 1, value));
  } catch (const Error&) {
    one = graph.run_all(examples_for(graph, 1, value = 1));
  }
  std::vector<Tensor> two = one;
  try {
    two = graph.run_all(examples_for(graph, 2, value));
  } catch (const Error&) {  // of one sample only
  }
  ValueTypes types;
  const std::vector<nn::Node*> nodes = graph.nodes();
  for (size_t i = 0; i < nodes.size(); ++i) types[nodes[i]] = type_of_both(one[i], two[i]);
  return types;
}

}  // namespace thimble::onnx
