// Elementwise ops: arithmetic, logic, comparisons, functions of one number; casts.
#include <cmath>
#include <limits>
#include <set>

#include <thimble/serialization/onnx/handlers.h>
#include <thimble/serialization/onnx/shape_values.h>
#include <thimble/serialization/onnx/tensor_array.h>

namespace thimble::onnx {

namespace {

// Ops that Thimble has under another name, without attributes.
const std::map<std::string, const char*> kRenamedOps = {
    {"Abs", "abs"},
    {"Acos", "acos"},
    {"Acosh", "acosh"},
    {"Add", "add"},
    {"And", "bitwise_and"},
    {"Asin", "asin"},
    {"Asinh", "asinh"},
    {"Atan", "atan"},
    {"Atanh", "atanh"},
    {"BitwiseAnd", "bitwise_and"},
    {"BitwiseNot", "bitwise_not"},
    {"BitwiseOr", "bitwise_or"},
    {"BitwiseXor", "bitwise_xor"},
    {"Ceil", "ceil"},
    {"Cos", "cos"},
    {"Cosh", "cosh"},
    {"Div", "div"},
    {"Equal", "equal"},
    {"Erf", "erf"},
    {"Exp", "exp"},
    {"Floor", "floor"},
    {"Greater", "greater"},
    {"GreaterOrEqual", "greater_equal"},
    {"IsNaN", "isnan"},
    {"Log", "log"},
    {"Mish", "mish"},
    {"Mul", "mul"},
    {"Neg", "neg"},
    {"Not", "logical_not"},
    {"Or", "bitwise_or"},
    {"PRelu", "prelu"},
    {"Relu", "relu"},
    {"Round", "round"},
    {"Sigmoid", "sigmoid"},
    {"Sign", "sign"},
    {"Sin", "sin"},
    {"Sinh", "sinh"},
    {"Softsign", "softsign"},
    {"Sqrt", "sqrt"},
    {"Sub", "sub"},
    {"Tan", "tan"},
    {"Tanh", "tanh"},
    {"Where", "where"},
    {"Xor", "bitwise_xor"},
};

Value with_trailing_dimensions(Importer& importer, const OnnxNode& node, Value x, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    x = importer.apply(node, "unsqueeze", {{"axis", int64_t{x.rank}}}, {x}, x.rank + 1);
  return x;
}

// Before opset 7 the second operand's dimensions are some of the first one's, from 'axis' on, or the last ones; the
// slopes of PRelu are those of channels.
Value second_operand(Importer& importer, const OnnxNode& node) {
  const Value &a = importer.input(node, 0), &b = importer.input(node, 1);
  if (node.opset() >= 7) return b;
  if (node.op() == "PRelu" && b.rank == 1) return with_trailing_dimensions(importer, node, b, a.rank - 2);
  const bool broadcasts = node.integer("broadcast", 0) != 0;
  const int64_t last = a.rank - b.rank, axis = node.integer("axis", last);
  if (!broadcasts || axis == last) return b;
  return with_trailing_dimensions(importer, node, b, last - axis_in(node, axis, a.rank));
}

size_t expected_inputs(const std::string& op) {
  static const std::set<std::string> kTwo = {"Add",   "And",     "BitwiseAnd",     "BitwiseOr", "BitwiseXor", "Div",
                                             "Equal", "Greater", "GreaterOrEqual", "Mul",       "Or",         "PRelu",
                                             "Sub",   "Xor"};
  return op == "Where" ? 3 : kTwo.contains(op) ? 2 : 1;
}

void same_op(Importer& importer, const OnnxNode& node) {
  node.require(node.num_inputs() == expected_inputs(node.op()), "it has ", node.num_inputs(), " inputs, expected ",
               expected_inputs(node.op()));
  std::vector<Value> operands;
  for (size_t i = 0; i < node.num_inputs(); ++i)
    operands.push_back(i == 1 && node.num_inputs() == 2 ? second_operand(importer, node) : importer.input(node, i));
  importer.set(node, 0, importer.apply(node, kRenamedOps.at(node.op()), {}, operands));
}

// Those of which Thimble has the one of exchanged operands.
void less(Importer& importer, const OnnxNode& node) {
  const char* op = node.op() == "Less" ? "greater" : "greater_equal";
  importer.set(node, 0, importer.apply(node, op, {}, {second_operand(importer, node), importer.input(node, 0)}));
}

Value folded(Importer& importer, const OnnxNode& node, const char* op) {
  Value result = importer.input(node, 0);
  for (size_t i = 1; i < node.num_inputs(); ++i)
    result = importer.apply(node, op, {}, {result, importer.input(node, i)});
  return result;
}

// Of any number of operands.
template <const char* kOp>
void fold(Importer& importer, const OnnxNode& node) {
  importer.set(node, 0, folded(importer, node, kOp));
}

void mean(Importer& importer, const OnnxNode& node) {
  const Value sum = folded(importer, node, "add");
  const auto count = static_cast<double>(node.num_inputs());
  importer.set(node, 0, count == 1 ? sum : importer.apply(node, "div", {}, {sum, Importer::number(count)}));
}

void same(Importer& importer, const OnnxNode& node) { importer.set(node, 0, importer.input(node, 0)); }

void reciprocal(Importer& importer, const OnnxNode& node) {
  importer.set(node, 0, importer.apply(node, "div", {}, {Importer::number(1), importer.input(node, 0)}));
}

// A power that is known is an attribute: squares are not computed as powers then.
void pow(Importer& importer, const OnnxNode& node) {
  const Value &base = importer.input(node, 0), exponent = second_operand(importer, node);
  const NDArray& known = exponent.constant;
  const bool is_number = known.defined() && known.numel() == 1 && exponent.rank <= std::max(base.rank, 0) &&
                         is_floating_point(known.dtype()) && std::isfinite(known.item<double>());
  if (is_number && !base.constant.defined())
    return importer.set(node, 0, importer.apply(node, "pow", {{"exponent", known.item<double>()}}, {base}));
  importer.set(node, 0, importer.apply(node, "pow", {}, {base, exponent}));
}

void mod(Importer& importer, const OnnxNode& node) {
  const char* op = node.integer("fmod", 0) != 0 ? "fmod" : "remainder";
  importer.set(node, 0, importer.apply(node, op, {}, {importer.input(node, 0), importer.input(node, 1)}));
}

void bit_shift(Importer& importer, const OnnxNode& node) {
  const std::string direction = node.text("direction", "");
  node.require(direction == "LEFT" || direction == "RIGHT", "its attribute 'direction' is neither LEFT nor RIGHT");
  const char* op = direction == "LEFT" ? "bitwise_left_shift" : "bitwise_right_shift";
  importer.set(node, 0, importer.apply(node, op, {}, {importer.input(node, 0), importer.input(node, 1)}));
}

void is_inf(Importer& importer, const OnnxNode& node) {
  const Attributes attributes{{"detect_negative", node.integer("detect_negative", 1) != 0},
                              {"detect_positive", node.integer("detect_positive", 1) != 0}};
  importer.set(node, 0, importer.apply(node, "isinf", attributes, {importer.input(node, 0)}));
}

// Bounds are attributes before opset 11, inputs since.
void clip(Importer& importer, const OnnxNode& node) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  double low = -kInfinity, high = kInfinity;
  Value y = importer.input(node, 0);
  if (node.opset() < 11) {
    low = node.number("min", std::numeric_limits<float>::lowest());
    high = node.number("max", std::numeric_limits<float>::max());
    if (low == std::numeric_limits<float>::lowest()) low = -kInfinity;  // infinity is let alone
    if (high == std::numeric_limits<float>::max()) high = kInfinity;
  }
  // A bound that is computed, or an integer, is an operand of its own.
  const auto bound = [&](size_t i, double& known, const char* op) {
    if (node.opset() < 11 || !importer.has_input(node, i)) return;
    const NDArray& constant = importer.input(node, i).constant;
    if (constant.defined() && is_floating_point(constant.dtype()))
      known = importer.constant_number(node, i, i == 1 ? "min" : "max");
    else
      y = importer.apply(node, op, {}, {y, importer.input(node, i)});
  };
  bound(1, low, "maximum");
  bound(2, high, "minimum");
  // Where they cross, all becomes the upper one.
  if (low > -kInfinity || high < kInfinity)
    y = importer.apply(node, "clamp", {{"min", std::min(low, high)}, {"max", high}}, {y});
  importer.set(node, 0, y);
}

// Elements of 16 bits are float32 here.
void cast(Importer& importer, const OnnxNode& node) {
  node.integer("saturate", 1);  // of 8-bit floats
  node.text("round_mode", "");
  const DType dtype = dtype_from_onnx(static_cast<int32_t>(node.integer("to", 0)));
  importer.set(node, 0, importer.apply(node, "cast", {{"dtype", std::string(name(dtype))}}, {importer.input(node, 0)}));
}

void cast_like(Importer& importer, const OnnxNode& node) {
  node.integer("saturate", 1);
  const Value &x = importer.input(node, 0), &other = importer.input(node, 1);
  if (other.constant.defined()) {
    const Attributes attributes{{"dtype", std::string(name(other.constant.dtype()))}};
    return importer.set(node, 0, importer.apply(node, "cast", attributes, {x}));
  }
  importer.set(node, 0, importer.apply(node, "type_as", {}, {x, other}, x.rank));
}

constexpr char kAdd[] = "add", kMaximum[] = "maximum", kMinimum[] = "minimum";

}  // namespace

void add_arithmetic(Handlers& handlers) {
  const Handlers own{{"BitShift", bit_shift},
                     {"Cast", cast},
                     {"CastLike", cast_like},
                     {"Clip", clip},
                     {"Identity", same},
                     {"IsInf", is_inf},
                     {"Less", less},
                     {"LessOrEqual", less},
                     {"Max", fold<kMaximum>},
                     {"Mean", mean},
                     {"Min", fold<kMinimum>},
                     {"Mod", mod},
                     {"Pow", pow},
                     {"Reciprocal", reciprocal},
                     {"Sum", fold<kAdd>}};
  handlers.insert(own.begin(), own.end());
  for (const auto& [name, op] : kRenamedOps) handlers.emplace(name, same_op);
}

}  // namespace thimble::onnx
