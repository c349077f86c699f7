// Activations with attributes, softmax and its like, dropout.
#include <algorithm>

#include <thimble/serialization/onnx/handlers.h>

namespace thimble::onnx {

namespace {

// An op of one operand, whose attributes are numbers.
void activation(Importer& importer, const OnnxNode& node, const char* op, Attributes attributes) {
  importer.set(node, 0, importer.apply(node, op, std::move(attributes), {importer.input(node, 0)}));
}

void leaky_relu(Importer& importer, const OnnxNode& node) {
  activation(importer, node, "leaky_relu", {{"negative_slope", node.number("alpha", 0.01)}});
}

void elu(Importer& importer, const OnnxNode& node) {
  activation(importer, node, "elu", {{"alpha", node.number("alpha", 1)}});
}

void celu(Importer& importer, const OnnxNode& node) {
  activation(importer, node, "celu", {{"alpha", node.number("alpha", 1)}});
}

void selu(Importer& importer, const OnnxNode& node) {
  activation(importer, node, "selu",
             {{"alpha", node.number("alpha", 1.67326319217681884765625)},
              {"scale", node.number("gamma", 1.05070102214813232421875)}});
}

void softplus(Importer& importer, const OnnxNode& node) {
  activation(importer, node, "softplus", {{"beta", 1.0}, {"threshold", 20.0}});
}

void thresholded_relu(Importer& importer, const OnnxNode& node) {
  activation(importer, node, "threshold", {{"threshold", node.number("alpha", 1)}, {"value", 0.0}});
}

void shrink(Importer& importer, const OnnxNode& node) {
  activation(importer, node, "shrink", {{"lambd", node.number("lambd", 0.5)}, {"bias", node.number("bias", 0)}});
}

void gelu(Importer& importer, const OnnxNode& node) {
  const std::string approximate = node.text("approximate", "none");
  node.require(approximate == "none" || approximate == "tanh", "its attribute 'approximate' is neither none nor tanh");
  activation(importer, node, approximate == "none" ? "gelu" : "gelu_tanh", {});
}

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

void hard_swish(Importer& importer, const OnnxNode& node) { activation(importer, node, "hardswish", {}); }

// x sigmoid(alpha x)
void swish(Importer& importer, const OnnxNode& node) {
  const double alpha = node.number("alpha", 1);
  if (alpha == 1) return activation(importer, node, "silu", {});
  const Value& x = importer.input(node, 0);
  const Value scaled = importer.apply(node, "mul", {}, {x, Importer::number(alpha)});
  importer.set(node, 0, importer.apply(node, "mul", {}, {x, importer.apply(node, "sigmoid", {}, {scaled})}));
}

// Before opset 13 the dimensions from axis on are one.
template <const char* kOp>
void softmax(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  const bool is_new = node.opset() >= 13;
  const int64_t axis = node.integer("axis", is_new ? -1 : 1);
  const bool is_last = axis == -1 || axis == x.rank - 1;
  if (is_new || is_last) return activation(importer, node, kOp, {{"axis", axis}});
  const Value flat = importer.apply(node, "flatten", {{"start_dim", axis}, {"end_dim", int64_t{-1}}}, {x});
  const Value y = importer.apply(node, kOp, {{"axis", int64_t{-1}}}, {flat});
  const Value sizes = importer.apply(node, "shape", {}, {x}, 1);
  importer.set(node, 0, importer.apply_with(node, "reshape", {}, {y}, {{"shape", sizes}}, x.rank));
}

// All true, as in evaluation nothing is dropped.
void set_dropout_mask(Importer& importer, const OnnxNode& node, const Value& x) {
  if (node.output(1).empty()) return;
  node.require(node.opset() >= 10, "its second output, the mask, is not covered before opset 10");
  const Value all = Importer::known(NDArray::ones({}, DType::bool_)), sizes = importer.apply(node, "shape", {}, {x}, 1);
  importer.set(node, 1, importer.apply_with(node, "broadcast_to", {}, {all}, {{"shape", sizes}}, x.rank));
}

// What it drops in training is not the file's business: in evaluation it hands its input on. A ratio that is computed
// is one of training, too.
void dropout(Importer& importer, const OnnxNode& node) {
  node.integer("seed", 0);
  if (importer.has_input(node, 2)) {
    const bool trains = importer.constant_number(node, 2, "training_mode") != 0;
    node.require(!trains || node.output(1).empty(), "its second output, the mask, is not covered in training mode");
  }
  const bool has_attribute = node.opset() < 12, has_input = !has_attribute && importer.has_input(node, 1);
  double p = has_attribute ? node.number("ratio", 0.5) : 0.5;
  if (has_input) p = importer.input(node, 1).constant.defined() ? importer.constant_number(node, 1, "ratio") : 0;
  const Value& x = importer.input(node, 0);
  importer.set(node, 0, p > 0 && p < 1 ? importer.call(node, "Dropout", {{"p", p}}, {}, {x}, x.rank) : x);
  set_dropout_mask(importer, node, x);
}

constexpr char kHardmax[] = "hardmax", kLogSoftmax[] = "log_softmax", kSoftmax[] = "softmax";

}  // namespace

void add_activations(Handlers& handlers) {
  const Handlers own{{"Celu", celu},
                     {"Dropout", dropout},
                     {"Elu", elu},
                     {"Gelu", gelu},
                     {"HardSigmoid", hard_sigmoid},
                     {"HardSwish", hard_swish},
                     {"Hardmax", softmax<kHardmax>},
                     {"LeakyRelu", leaky_relu},
                     {"LogSoftmax", softmax<kLogSoftmax>},
                     {"Selu", selu},
                     {"Shrink", shrink},
                     {"Softmax", softmax<kSoftmax>},
                     {"Softplus", softplus},
                     {"Swish", swish},
                     {"ThresholdedRelu", thresholded_relu}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
