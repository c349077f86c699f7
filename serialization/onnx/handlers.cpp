#include <thimble/serialization/onnx/handlers.h>

namespace thimble::onnx {

namespace {

Handlers all_handlers() {
  Handlers handlers;
  add_activations(handlers);
  add_arithmetic(handlers);
  add_branches(handlers);
  add_contrib_activations(handlers);
  add_constants(handlers);
  add_indexing(handlers);
  add_layers(handlers);
  add_losses(handlers);
  add_norms(handlers);
  add_pools(handlers);
  add_quantization(handlers);
  add_quantized_ops(handlers);
  add_products(handlers);
  add_recurrent(handlers);
  add_reductions(handlers);
  add_resizing(handlers);
  add_shapes(handlers);
  add_slices(handlers);
  return handlers;
}

}  // namespace

Handler handler_of(const std::string& op) {
  static const Handlers handlers = all_handlers();
  const auto it = handlers.find(op);
  return it == handlers.end() ? nullptr : it->second;
}

}  // namespace thimble::onnx
