// Elementwise ops, softmax, casts.
#include <limits>
#include <numbers>

#include <thimble/serialization/onnx/export_handlers.h>
#include <thimble/serialization/onnx/export_tensors.h>

namespace thimble::onnx {

namespace {

using nn::Node;

constexpr double kUnbounded = std::numeric_limits<double>::infinity();

struct SameOp {
  const char *op, *onnx;
};

// Ops without attributes that ONNX has under another name.
constexpr SameOp kSameOps[] = {{"abs", "Abs"},   {"add", "Add"}, {"div", "Div"},     {"erf", "Erf"},
                               {"exp", "Exp"},   {"log", "Log"}, {"maximum", "Max"}, {"minimum", "Min"},
                               {"mul", "Mul"},   {"neg", "Neg"}, {"prelu", "PRelu"}, {"sigmoid", "Sigmoid"},
                               {"sqrt", "Sqrt"}, {"sub", "Sub"}, {"tanh", "Tanh"}};
constexpr SameOp kComparisons[] = {{"greater", "Greater"},
                                   {"greater_equal", "GreaterOrEqual"},
                                   {"equal", "Equal"},
                                   {"less", "Less"},
                                   {"less_equal", "LessOrEqual"}};

template <size_t N>
std::string onnx_op(const SameOp (&ops)[N], const std::string& op) {
  for (const SameOp& same : ops)
    if (op == same.op) return same.onnx;
  return "";
}

// Of two floats that differ, a number takes the other's type, which ONNX's do not.
std::vector<std::string> operands_of_one_type(Exporter& e, const Node& node) {
  std::vector<std::string> operands = e.operands(node);
  if (operands.size() != 2 || e.input_type(node, 0).dtype == e.input_type(node, 1).dtype) return operands;
  const size_t number = e.input_type(node, 0).rank() > 0 ? 1 : 0;
  const DType dtype = e.input_type(node, 1 - number).dtype;
  operands[number] = e.step(node, "Cast", {operands[number]}, {{"to", int64_t{onnx_type(dtype)}}});
  return operands;
}

void write_same(Exporter& e, const Node& node) {
  e.result(node, onnx_op(kSameOps, node.target), operands_of_one_type(e, node));
}

// Graphs of older files have uint8.
void write_comparison(Exporter& e, const Node& node) {
  const std::string op = onnx_op(kComparisons, node.target);
  const std::vector<std::string> operands = operands_of_one_type(e, node);
  if (e.type_of(node).dtype == DType::bool_)
    e.result(node, op, operands);
  else
    e.result_is_bool(node, e.step(node, op, operands));
}

void write_where(Exporter& e, const Node& node) {
  e.result(node, "Where", {e.input_as_bool(node, 0), e.input(node, 1), e.input(node, 2)});
}

void write_relu(Exporter& e, const Node& node) {
  const std::string x = e.input(node, 0);
  e.note_clamp(e.result(node, "Relu", {x}), x, 0, kUnbounded);
}

void write_add_relu(Exporter& e, const Node& node) {
  const std::string sum = e.step(node, "Add", e.operands(node));
  e.note_clamp(e.result(node, "Relu", {sum}), sum, 0, kUnbounded);
}

void write_clamp_between(Exporter& e, const Node& node, double low, double high) {
  const DType dtype = e.type_of(node).dtype;
  const std::string x = e.input(node, 0);
  std::vector<std::string> inputs{x, low > -kUnbounded ? e.number(low, dtype) : ""};
  if (high < kUnbounded) inputs.push_back(e.number(high, dtype));
  e.note_clamp(e.result(node, "Clip", inputs), x, low, high);
}

void write_clamp(Exporter& e, const Node& node) {
  write_clamp_between(e, node, node.attributes.get("min", -kUnbounded), node.attributes.get("max", kUnbounded));
}

void write_relu6(Exporter& e, const Node& node) { write_clamp_between(e, node, 0, 6); }

void write_leaky_relu(Exporter& e, const Node& node) {
  e.result(node, "LeakyRelu", e.operands(node), {{"alpha", node.attributes.get<double>("negative_slope")}});
}

void write_hardsigmoid(Exporter& e, const Node& node) {
  e.result(node, "HardSigmoid", e.operands(node), {{"alpha", 1.0 / 6}, {"beta", 0.5}});
}

void write_hardswish(Exporter& e, const Node& node) { e.result(node, "HardSwish", e.operands(node)); }

void write_silu(Exporter& e, const Node& node) {
  const std::string x = e.input(node, 0);
  e.result(node, "Mul", {x, e.step(node, "Sigmoid", {x})});
}

// An op since opset 20; before it, as PyTorch spells it, which runtimes know.
void write_gelu(Exporter& e, const Node& node) {
  if (e.opset() >= 20) {
    e.result(node, "Gelu", e.operands(node));
    return;
  }
  const DType dtype = e.type_of(node).dtype;
  const std::string x = e.input(node, 0);
  const std::string erf = e.step(node, "Erf", {e.step(node, "Div", {x, e.number(std::numbers::sqrt2, dtype)})});
  const std::string product = e.step(node, "Mul", {x, e.step(node, "Add", {erf, e.number(1, dtype)})});
  e.result(node, "Mul", {product, e.number(0.5, dtype)});
}

// Squares are products, which are exact.
void write_pow(Exporter& e, const Node& node) {
  const std::string x = e.input(node, 0);
  const bool is_input = !node.attributes.contains("exponent");
  const double exponent = node.attributes.get("exponent", 0.0);
  const std::string other = is_input ? e.input(node, 1) : exponent == 2 ? x : e.number(exponent, e.type_of(node).dtype);
  e.result(node, other == x ? "Mul" : "Pow", {x, other});
}

void write_softmax(Exporter& e, const Node& node) {
  e.result(node, node.target == "softmax" ? "Softmax" : "LogSoftmax", e.operands(node),
           {{"axis", node.attributes.get<int64_t>("axis")}});
}

void write_cast(Exporter& e, const Node& node) {
  const DType dtype = dtype_from_name(node.attributes.get<std::string>("dtype"));
  e.result(node, "Cast", e.operands(node), {{"to", int64_t{onnx_type(dtype)}}});
}

}  // namespace

void add_arithmetic_exports(ExportHandlers& handlers) {
  for (const SameOp& same : kSameOps) handlers[same.op] = {write_same};
  for (const SameOp& same : kComparisons) handlers[same.op] = {write_comparison};
  handlers["add_relu"] = {write_add_relu};
  handlers["cast"] = {write_cast};
  handlers["clamp"] = {write_clamp};
  handlers["gelu"] = {write_gelu};
  handlers["hardsigmoid"] = {write_hardsigmoid};
  handlers["hardswish"] = {write_hardswish};
  handlers["leaky_relu"] = {write_leaky_relu};
  handlers["log_softmax"] = {write_softmax};
  handlers["pow"] = {write_pow};
  handlers["relu"] = {write_relu};
  handlers["relu6"] = {write_relu6};
  handlers["silu"] = {write_silu};
  handlers["softmax"] = {write_softmax};
  handlers["where"] = {write_where};
}

}  // namespace thimble::onnx
