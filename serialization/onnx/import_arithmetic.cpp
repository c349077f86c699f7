// Elementwise ops, softmax, casts.
#include <limits>

#include <thimble/serialization/onnx/handlers.h>
#include <thimble/serialization/onnx/tensor_array.h>

namespace thimble::onnx {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Ops without attributes that have Thimble's under another name.
template <const char* kOp>
void plain(Importer& importer, const OnnxNode& node) {
  std::vector<Value> operands;
  for (size_t i = 0; i < node.num_inputs(); ++i) operands.push_back(importer.input(node, i));
  importer.set(node, 0, importer.apply(node, kOp, {}, operands));
}

// Of any number of operands.
template <const char* kOp>
void folded(Importer& importer, const OnnxNode& node) {
  Value result = importer.input(node, 0);
  for (size_t i = 1; i < node.num_inputs(); ++i)
    result = importer.apply(node, kOp, {}, {result, importer.input(node, i)});
  importer.set(node, 0, result);
}

void same(Importer& importer, const OnnxNode& node) { importer.set(node, 0, importer.input(node, 0)); }

// x * scale + shift between 0 and 1.
Value hard_sigmoid_of(Importer& importer, const OnnxNode& node, const Value& x, double scale, double shift) {
  const Value scaled = importer.apply(node, "mul", {}, {x, Importer::number(scale)});
  const Value shifted = importer.apply(node, "add", {}, {scaled, Importer::number(shift)});
  return importer.apply(node, "clamp", {{"min", 0.0}, {"max", 1.0}}, {shifted});
}

void hard_sigmoid(Importer& importer, const OnnxNode& node) {
  const double alpha = node.number("alpha", 0.2), beta = node.number("beta", 0.5);
  importer.set(node, 0, hard_sigmoid_of(importer, node, importer.input(node, 0), alpha, beta));
}

void hard_swish(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  const Value gate = hard_sigmoid_of(importer, node, x, 1.0 / 6, 0.5);
  importer.set(node, 0, importer.apply(node, "mul", {}, {x, gate}));
}

// Bounds are attributes before opset 11, inputs since.
void clip(Importer& importer, const OnnxNode& node) {
  double low = -kInfinity, high = kInfinity;
  Value y = importer.input(node, 0);
  if (node.opset() < 11) {
    low = node.number("min", low);
    high = node.number("max", high);
  }
  // A bound that is computed is an operand of its own.
  const auto bound = [&](size_t i, double& known, const char* op) {
    if (node.opset() < 11 || !importer.has_input(node, i)) return;
    if (importer.input(node, i).constant.defined())
      known = importer.constant_number(node, i, i == 1 ? "min" : "max");
    else
      y = importer.apply(node, op, {}, {y, importer.input(node, i)});
  };
  bound(1, low, "maximum");
  bound(2, high, "minimum");
  if (low > -kInfinity || high < kInfinity) y = importer.apply(node, "clamp", {{"min", low}, {"max", high}}, {y});
  importer.set(node, 0, y);
}

void leaky_relu(Importer& importer, const OnnxNode& node) {
  const Attributes attributes{{"negative_slope", node.number("alpha", 0.01)}};
  importer.set(node, 0, importer.apply(node, "leaky_relu", attributes, {importer.input(node, 0)}));
}

void reciprocal(Importer& importer, const OnnxNode& node) {
  importer.set(node, 0, importer.apply(node, "div", {}, {Importer::number(1), importer.input(node, 0)}));
}

// Before opset 13 the dimensions from axis on are one.
template <const char* kOp>
void softmax(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  const bool is_new = node.opset() >= 13;
  const int64_t axis = node.integer("axis", is_new ? -1 : 1);
  node.require(is_new || axis == -1 || axis == x.rank - 1, "its axis ", axis, " of ", x.rank,
               " dimensions is not the last, which before opset 13 is not covered");
  importer.set(node, 0, importer.apply(node, kOp, {{"axis", axis}}, {x}));
}

void cast(Importer& importer, const OnnxNode& node) {
  const DType dtype = dtype_from_onnx(static_cast<int32_t>(node.integer("to", 0)));
  importer.set(node, 0, importer.apply(node, "cast", {{"dtype", std::string(name(dtype))}}, {importer.input(node, 0)}));
}

// What it drops in training is not the file's business: in evaluation it hands its input on.
void dropout(Importer& importer, const OnnxNode& node) {
  const double p = node.opset() < 12             ? node.number("ratio", 0.5)
                   : importer.has_input(node, 1) ? importer.constant_number(node, 1, "ratio")
                                                 : 0.5;
  node.integer("seed", 0);
  const Value& x = importer.input(node, 0);
  importer.set(node, 0, p > 0 && p < 1 ? importer.call(node, "Dropout", {{"p", p}}, {}, {x}, x.rank) : x);
}

constexpr char kAbs[] = "abs", kAdd[] = "add", kDiv[] = "div", kErf[] = "erf", kExp[] = "exp", kLog[] = "log",
               kLogSoftmax[] = "log_softmax", kMaximum[] = "maximum", kMinimum[] = "minimum", kMul[] = "mul",
               kNeg[] = "neg", kPow[] = "pow", kRelu[] = "relu", kSigmoid[] = "sigmoid", kSoftmax[] = "softmax",
               kSqrt[] = "sqrt", kSub[] = "sub", kTanh[] = "tanh", kWhere[] = "where";

}  // namespace

void add_arithmetic(Handlers& handlers) {
  const Handlers own{{"Abs", plain<kAbs>},
                     {"Add", plain<kAdd>},
                     {"Cast", cast},
                     {"Clip", clip},
                     {"Div", plain<kDiv>},
                     {"Dropout", dropout},
                     {"Erf", plain<kErf>},
                     {"Exp", plain<kExp>},
                     {"HardSigmoid", hard_sigmoid},
                     {"HardSwish", hard_swish},
                     {"Identity", same},
                     {"LeakyRelu", leaky_relu},
                     {"Log", plain<kLog>},
                     {"LogSoftmax", softmax<kLogSoftmax>},
                     {"Max", folded<kMaximum>},
                     {"Min", folded<kMinimum>},
                     {"Mul", plain<kMul>},
                     {"Neg", plain<kNeg>},
                     {"Pow", plain<kPow>},
                     {"Reciprocal", reciprocal},
                     {"Relu", plain<kRelu>},
                     {"Sigmoid", plain<kSigmoid>},
                     {"Softmax", softmax<kSoftmax>},
                     {"Sqrt", plain<kSqrt>},
                     {"Sub", plain<kSub>},
                     {"Sum", folded<kAdd>},
                     {"Tanh", plain<kTanh>},
                     {"Where", plain<kWhere>}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
