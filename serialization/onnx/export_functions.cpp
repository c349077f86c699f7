// Functions of each element, and logic.
#include <algorithm>

#include <thimble/serialization/onnx/export_handlers.h>
#include <thimble/serialization/onnx/export_tensors.h>

namespace thimble::onnx {

namespace {

using nn::Node;

struct FunctionOp {
  const char *op, *onnx;
};

// Without attributes.
constexpr FunctionOp kFunctionOps[] = {
    {"acos", "Acos"},   {"acosh", "Acosh"},       {"asin", "Asin"},       {"asinh", "Asinh"}, {"atan", "Atan"},
    {"atanh", "Atanh"}, {"ceil", "Ceil"},         {"cos", "Cos"},         {"cosh", "Cosh"},   {"floor", "Floor"},
    {"isnan", "IsNaN"}, {"round", "Round"},       {"sign", "Sign"},       {"sin", "Sin"},     {"sinh", "Sinh"},
    {"tan", "Tan"},     {"softsign", "Softsign"}, {"type_as", "CastLike"}};

// Of bools, and of integers since opset 18.
struct BitwiseOp {
  const char *op, *of_bools, *of_integers;
};
constexpr BitwiseOp kBitwiseOps[] = {{"bitwise_and", "And", "BitwiseAnd"},
                                     {"bitwise_or", "Or", "BitwiseOr"},
                                     {"bitwise_xor", "Xor", "BitwiseXor"},
                                     {"bitwise_not", "Not", "BitwiseNot"}};

std::string constant_like(Exporter& e, const Node& node, double value) {
  return e.number(value, e.type_of(node).dtype);
}

double parameter(const Node& node, const char* key) { return node.attributes.get<double>(key); }

void write_function(Exporter& e, const Node& node) {
  for (const FunctionOp& function : kFunctionOps)
    if (node.target == function.op) e.result(node, function.onnx, e.operands(node));
}

bool is_of_bools(const Exporter& e, const Node& node) { return e.input_type(node, 0).dtype == DType::bool_; }

int64_t bitwise_opset(const Exporter& e, const Node& node) { return is_of_bools(e, node) ? 17 : 18; }

void write_logical_not(Exporter& e, const Node& node) { e.result(node, "Not", {e.input_as_bool(node, 0)}); }

void write_bitwise(Exporter& e, const Node& node) {
  const bool of_bools = is_of_bools(e, node);
  for (const BitwiseOp& op : kBitwiseOps)
    if (node.target == op.op) e.result(node, of_bools ? op.of_bools : op.of_integers, e.operands(node));
}

// Of integers without a sign.
void write_shift(Exporter& e, const Node& node) {
  constexpr DType kUnsigned[] = {DType::uint8, DType::uint16, DType::uint32, DType::uint64};
  const DType dtype = e.type_of(node).dtype;
  Exporter::require(std::ranges::count(kUnsigned, dtype) > 0, "of ", name(dtype), ", which has a sign");
  e.result(node, "BitShift", e.operands(node), {{"direction", node.target == "bitwise_left_shift" ? "LEFT" : "RIGHT"}});
}

void write_isinf(Exporter& e, const Node& node) {
  e.result(node, "IsInf", e.operands(node),
           {{"detect_negative", node.attributes.get<bool>("detect_negative")},
            {"detect_positive", node.attributes.get<bool>("detect_positive")}});
}

// Above the threshold ours is x. Above one of 20 so it is to within an ulp of float32 without looking.
void write_log1p(Exporter& e, const Node& node) {
  e.result(node, "Log", {e.step(node, "Add", {e.input(node, 0), constant_like(e, node, 1)})});
}

void write_expm1(Exporter& e, const Node& node) {
  e.result(node, "Sub", {e.step(node, "Exp", {e.input(node, 0)}), constant_like(e, node, 1)});
}

void write_softplus(Exporter& e, const Node& node) {
  const double beta = node.attributes.get("beta", 1.0), threshold = node.attributes.get("threshold", 20.0);
  const std::string x = e.input(node, 0), factor = beta == 1 ? "" : constant_like(e, node, beta);
  const std::string steps = factor.empty() ? x : e.step(node, "Mul", {x, factor});
  std::string y = e.step(node, "Softplus", {steps});
  if (!factor.empty()) y = e.step(node, "Div", {y, factor});
  if (threshold >= 20 && e.type_of(node).dtype == DType::float32) return e.result_is(node, y);
  e.result(node, "Where", {e.step(node, "Greater", {steps, constant_like(e, node, threshold)}), x, y});
}

void write_elu(Exporter& e, const Node& node) {
  e.result(node, node.target == "elu" ? "Elu" : "Celu", e.operands(node), {{"alpha", parameter(node, "alpha")}});
}

void write_selu(Exporter& e, const Node& node) {
  e.result(node, "Selu", e.operands(node), {{"alpha", parameter(node, "alpha")}, {"gamma", parameter(node, "scale")}});
}

// An op since opset 18.
void write_mish(Exporter& e, const Node& node) {
  const std::string x = e.input(node, 0);
  if (e.opset() >= 18)
    e.result(node, "Mish", {x});
  else
    e.result(node, "Mul", {x, e.step(node, "Tanh", {e.step(node, "Softplus", {x})})});
}

// An op since opset 20.
void write_gelu_tanh(Exporter& e, const Node& node) {
  const std::string x = e.input(node, 0);
  if (e.opset() >= 20) {
    e.result(node, "Gelu", {x}, {{"approximate", "tanh"}});
    return;
  }
  constexpr double kCubic = 0.044715, kSlope = 0.7978845608028654;  // sqrt(2 / pi)
  const auto times = [&](const std::string& a, const std::string& b) { return e.step(node, "Mul", {a, b}); };
  const std::string cube = times(times(times(x, x), x), constant_like(e, node, kCubic));
  const std::string inner = times(e.step(node, "Add", {x, cube}), constant_like(e, node, kSlope));
  const std::string gate = e.step(node, "Add", {e.step(node, "Tanh", {inner}), constant_like(e, node, 1)});
  e.result(node, "Mul", {times(x, constant_like(e, node, 0.5)), gate});
}

void write_threshold(Exporter& e, const Node& node) {
  const std::string x = e.input(node, 0);
  const std::string above = e.step(node, "Greater", {x, constant_like(e, node, parameter(node, "threshold"))});
  e.result(node, "Where", {above, x, constant_like(e, node, parameter(node, "value"))});
}

void write_shrink(Exporter& e, const Node& node) {
  e.result(node, "Shrink", e.operands(node), {{"lambd", parameter(node, "lambd")}, {"bias", parameter(node, "bias")}});
}

// ONNX's has the divisor's sign for integers alone; of floats, the dividend's. Where the two differ, the divisor is
// added. (a - floor(a / b) * b would lose all digits of large quotients.)
void write_remainder(Exporter& e, const Node& node) {
  const bool floored = node.target == "remainder", of_floats = is_floating_point(e.type_of(node).dtype);
  const std::string a = e.input(node, 0), b = e.input(node, 1);
  if (!floored || !of_floats) {
    e.result(node, "Mod", {a, b}, {{"fmod", !floored}});
    return;
  }
  const std::string zero = constant_like(e, node, 0), rest = e.step(node, "Mod", {a, b}, {{"fmod", true}});
  const std::string differs =
      e.step(node, "Xor", {e.step(node, "Less", {rest, zero}), e.step(node, "Less", {b, zero})});
  const std::string is_some = e.step(node, "Not", {e.step(node, "Equal", {rest, zero})});
  e.result(node, "Where", {e.step(node, "And", {differs, is_some}), e.step(node, "Add", {rest, b}), rest});
}

void write_rounded_to(Exporter& e, const Node& node) {
  const DType to = dtype_from_name(node.attributes.get<std::string>("dtype")), own = e.type_of(node).dtype;
  const std::string rounded = e.step(node, "Cast", e.operands(node), {{"to", int64_t{onnx_type(to)}}});
  e.result(node, "Cast", {rounded}, {{"to", int64_t{onnx_type(own)}}});
}

}  // namespace

void add_function_exports(ExportHandlers& handlers) {
  for (const FunctionOp& function : kFunctionOps) handlers[function.op] = {write_function};
  for (const BitwiseOp& op : kBitwiseOps) handlers[op.op] = {write_bitwise, bitwise_opset};
  const ExportHandlers own{{"bitwise_left_shift", {write_shift}},
                           {"bitwise_right_shift", {write_shift}},
                           {"celu", {write_elu}},
                           {"elu", {write_elu}},
                           {"fmod", {write_remainder}},
                           {"gelu_tanh", {write_gelu_tanh}},
                           {"isinf", {write_isinf}},
                           {"logical_not", {write_logical_not}},
                           {"mish", {write_mish}},
                           {"remainder", {write_remainder}},
                           {"rounded_to", {write_rounded_to}},
                           {"selu", {write_selu}},
                           {"shrink", {write_shrink}},
                           {"softplus", {write_softplus}},
                           {"threshold", {write_threshold}},
                           {"log1p", {write_log1p}},
                           {"expm1", {write_expm1}}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
