// Functions of each element, and logic.
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
    {"acos", "Acos"},   {"acosh", "Acosh"},       {"asin", "Asin"},       {"asinh", "Asinh"},     {"atan", "Atan"},
    {"atanh", "Atanh"}, {"ceil", "Ceil"},         {"cos", "Cos"},         {"cosh", "Cosh"},       {"floor", "Floor"},
    {"isnan", "IsNaN"}, {"round", "Round"},       {"sign", "Sign"},       {"sin", "Sin"},         {"sinh", "Sinh"},
    {"tan", "Tan"},     {"softsign", "Softsign"}, {"logical_not", "Not"}, {"type_as", "CastLike"}};

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

void write_bitwise(Exporter& e, const Node& node) {
  const bool of_bools = e.input_type(node, 0).dtype == DType::bool_;
  Exporter::require(of_bools || e.opset() >= 18, "of integers it takes opset 18");
  for (const BitwiseOp& op : kBitwiseOps)
    if (node.target == op.op) e.result(node, of_bools ? op.of_bools : op.of_integers, e.operands(node));
}

void write_shift(Exporter& e, const Node& node) {
  e.result(node, "BitShift", e.operands(node), {{"direction", node.target == "bitwise_left_shift" ? "LEFT" : "RIGHT"}});
}

void write_isinf(Exporter& e, const Node& node) {
  e.result(node, "IsInf", e.operands(node),
           {{"detect_negative", node.attributes.get<bool>("detect_negative")},
            {"detect_positive", node.attributes.get<bool>("detect_positive")}});
}

// Above the threshold, where ours is x, it is x to within an ulp.
void write_softplus(Exporter& e, const Node& node) {
  const double beta = node.attributes.get("beta", 1.0);
  const std::string x = e.input(node, 0);
  if (beta == 1) {
    e.result(node, "Softplus", {x});
    return;
  }
  const std::string factor = constant_like(e, node, beta);
  e.result(node, "Div", {e.step(node, "Softplus", {e.step(node, "Mul", {x, factor})}), factor});
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

// ONNX's has the divisor's sign for integers alone.
void write_remainder(Exporter& e, const Node& node) {
  const bool floored = node.target == "remainder", of_floats = is_floating_point(e.type_of(node).dtype);
  const std::string a = e.input(node, 0), b = e.input(node, 1);
  if (floored && of_floats) {
    const std::string quotient = e.step(node, "Floor", {e.step(node, "Div", {a, b})});
    e.result(node, "Sub", {a, e.step(node, "Mul", {quotient, b})});
  } else {
    e.result(node, "Mod", {a, b}, {{"fmod", !floored}});
  }
}

void write_rounded_to(Exporter& e, const Node& node) {
  const DType to = dtype_from_name(node.attributes.get<std::string>("dtype")), own = e.type_of(node).dtype;
  const std::string rounded = e.step(node, "Cast", e.operands(node), {{"to", int64_t{onnx_type(to)}}});
  e.result(node, "Cast", {rounded}, {{"to", int64_t{onnx_type(own)}}});
}

}  // namespace

void add_function_exports(ExportHandlers& handlers) {
  for (const FunctionOp& function : kFunctionOps) handlers[function.op] = {write_function};
  for (const BitwiseOp& op : kBitwiseOps) handlers[op.op] = {write_bitwise};
  const ExportHandlers own{{"bitwise_left_shift", {write_shift}},
                           {"bitwise_right_shift", {write_shift}},
                           {"celu", {write_elu}},
                           {"elu", {write_elu}},
                           {"fmod", {write_remainder}},
                           {"gelu_tanh", {write_gelu_tanh}},
                           {"isinf", {write_isinf}},
                           {"mish", {write_mish}},
                           {"remainder", {write_remainder}},
                           {"rounded_to", {write_rounded_to}},
                           {"selu", {write_selu}},
                           {"shrink", {write_shrink}},
                           {"softplus", {write_softplus}},
                           {"threshold", {write_threshold}}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
