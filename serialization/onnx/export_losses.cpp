// Losses.
#include <thimble/core/ops/loss.h>
#include <thimble/serialization/onnx/export_handlers.h>
#include <thimble/serialization/onnx/export_tensors.h>

namespace thimble::onnx {

namespace {

using nn::Node;

std::string reduction_of_loss(const Node& node) { return node.attributes.get<std::string>("reduction", "mean"); }

// Classes are int32 or int64.
void write_class_loss(Exporter& e, const Node& node) {
  Exporter::require(node.attributes.get("label_smoothing", 0.0) == 0, "with label_smoothing");
  const DType dtype = e.input_type(node, 1).dtype;
  std::string target = e.input(node, 1);
  if (dtype != DType::int64 && dtype != DType::int32)
    target = e.step(node, "Cast", {target}, {{"to", int64_t{onnx_type(DType::int64)}}});
  e.result(
      node, node.target == "nll_loss" ? "NegativeLogLikelihoodLoss" : "SoftmaxCrossEntropyLoss",
      {e.input(node, 0), target},
      {{"reduction", reduction_of_loss(node)}, {"ignore_index", node.attributes.get("ignore_index", kIgnoreIndex)}});
}

void write_mse_loss(Exporter& e, const Node& node) {
  const std::string difference = e.step(node, "Sub", e.operands(node)), reduction = reduction_of_loss(node);
  if (reduction == "none") {
    e.result(node, "Mul", {difference, difference});
    return;
  }
  const std::string square = e.step(node, "Mul", {difference, difference});
  e.result(node, reduction == "sum" ? "ReduceSum" : "ReduceMean", {square}, {{"keepdims", false}});
}

// Of each element, of logarithms that end at -100.
void write_binary_cross_entropy(Exporter& e, const Node& node) {
  const DType dtype = e.type_of(node).dtype;
  const std::string p = e.input(node, 0), target = e.input(node, 1), one = e.number(1, dtype);
  const auto cost = [&](const std::string& probability, const std::string& weight) {
    const std::string log = e.step(node, "Max", {e.step(node, "Log", {probability}), e.number(-100, dtype)});
    return e.step(node, "Mul", {weight, log});
  };
  const auto other = [&](const std::string& x) { return e.step(node, "Sub", {one, x}); };
  e.result(node, "Neg", {e.step(node, "Add", {cost(p, target), cost(other(p), other(target))})});
}

}  // namespace

void add_loss_exports(ExportHandlers& handlers) {
  handlers["binary_cross_entropy"] = {write_binary_cross_entropy};
  handlers["cross_entropy"] = {write_class_loss};
  handlers["mse_loss"] = {write_mse_loss};
  handlers["nll_loss"] = {write_class_loss};
}

}  // namespace thimble::onnx
