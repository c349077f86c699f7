// Activations of com.microsoft, which ONNX Runtime's optimizer writes.
#include <thimble/serialization/onnx/handlers.h>

namespace thimble::onnx {

namespace {

Value plus_bias(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  return importer.has_input(node, 1) ? importer.apply(node, "add", {}, {x, importer.input(node, 1)}) : x;
}

// Gelu and BiasGelu.
void exact_gelu(Importer& importer, const OnnxNode& node) {
  importer.set(node, 0, importer.apply(node, "gelu", {}, {plus_bias(importer, node)}));
}

void fast_gelu(Importer& importer, const OnnxNode& node) {
  importer.set(node, 0, importer.apply(node, "gelu_tanh", {}, {plus_bias(importer, node)}));
}

// x * sigmoid(alpha * x)
void quick_gelu(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  const double alpha = node.number("alpha", 1.702);
  if (alpha == 1) return importer.set(node, 0, importer.apply(node, "silu", {}, {x}));
  const Value scaled = importer.apply(node, "mul", {}, {x, Importer::number(alpha)});
  importer.set(node, 0, importer.apply(node, "mul", {}, {x, importer.apply(node, "sigmoid", {}, {scaled})}));
}

}  // namespace

void add_contrib_activations(Handlers& handlers) {
  const Handlers own{{"com.microsoft.BiasGelu", exact_gelu},
                     {"com.microsoft.FastGelu", fast_gelu},
                     {"com.microsoft.Gelu", exact_gelu},
                     {"com.microsoft.QuickGelu", quick_gelu}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
