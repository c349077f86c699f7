// Losses: graphs of training have them.
#include <thimble/core/ops/loss.h>
#include <thimble/serialization/onnx/handlers.h>

namespace thimble::onnx {

namespace {

Value nll_loss_of(Importer& importer, const OnnxNode& node, const Value& log_probabilities) {
  const std::string reduction = node.text("reduction", "mean");
  node.require(reduction == "mean" || reduction == "sum" || reduction == "none", "its reduction '", reduction,
               "' is not one of the standard's");
  Attributes attributes{{"reduction", reduction}, {"ignore_index", node.integer("ignore_index", kIgnoreIndex)}};
  std::vector<Value> operands{log_probabilities, importer.input(node, 1)};
  if (importer.has_input(node, 2)) {
    attributes.set("weighted", true);
    operands.push_back(importer.input(node, 2));
  }
  return importer.apply(node, "nll_loss", attributes, operands, reduction == "none" ? log_probabilities.rank - 1 : 0);
}

void nll_loss_node(Importer& importer, const OnnxNode& node) {
  importer.set(node, 0, nll_loss_of(importer, node, importer.input(node, 0)));
}

void softmax_cross_entropy(Importer& importer, const OnnxNode& node) {
  const Value log_probabilities =
      importer.apply(node, "log_softmax", {{"axis", int64_t{1}}}, {importer.input(node, 0)});
  importer.set(node, 0, nll_loss_of(importer, node, log_probabilities));
  importer.set(node, 1, log_probabilities);
}

}  // namespace

void add_losses(Handlers& handlers) {
  const Handlers own{{"NegativeLogLikelihoodLoss", nll_loss_node}, {"SoftmaxCrossEntropyLoss", softmax_cross_entropy}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
