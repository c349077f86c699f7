// Between floats and integers: QuantizeLinear and its like.
#include <thimble/serialization/onnx/handlers.h>
#include <thimble/serialization/onnx/tensor_array.h>

namespace thimble::onnx {

namespace {

using ::onnx::TensorProto;

// quantize_linear's name of the type.
std::string type_name(const OnnxNode& node, int32_t type) {
  if (const std::string_view small = name_of_small_type(type); !small.empty()) return std::string(small);
  const bool is_integer = type == TensorProto::UINT8 || type == TensorProto::INT8 || type == TensorProto::UINT16 ||
                          type == TensorProto::INT16;
  node.require(is_integer, "it gives elements of type ", type, " (TensorProto.DataType), which are not covered");
  return std::string(name(dtype_from_onnx(type)));
}

// x, scale and, if there is one, the zero point.
std::vector<Value> operands_of(Importer& importer, const OnnxNode& node) {
  std::vector<Value> operands;
  for (size_t i = 0; i < (importer.has_input(node, 2) ? 3 : 2); ++i) {
    if (i > 0) importer.keep_untrained(node, i);
    operands.push_back(importer.input(node, i));
  }
  return operands;
}

// Floats of 16 bits are ones of 32 here, and divisions are in float32.
void require_float_type(const OnnxNode& node, const char* key) {
  const int64_t type = node.integer(key, 0);
  node.require(type == 0 || type == TensorProto::FLOAT || type == TensorProto::FLOAT16 || type == TensorProto::BFLOAT16,
               "its attribute '", key, "' is ", type, ", which is not covered");
}

void quantize_linear(Importer& importer, const OnnxNode& node) {
  const std::vector<Value> operands = operands_of(importer, node);
  auto type = static_cast<int32_t>(node.integer("output_dtype", 0));
  if (type == 0) type = operands.size() > 2 ? importer.declared_type(node.input(2)) : TensorProto::UINT8;
  require_float_type(node, "precision");
  Attributes attributes{{"axis", node.integer("axis", 1)},
                        {"block_size", node.integer("block_size", 0)},
                        {"saturate", node.integer("saturate", 1) != 0}};
  if (type != 0) attributes.set("type", type_name(node, type));
  importer.note_type(node.output(0), type);
  importer.set(node, 0, importer.apply(node, "quantize_linear", attributes, operands, operands[0].rank));
}

int bits_of(int32_t type) {
  const std::string_view small = name_of_small_type(type);
  return small.ends_with("int4") ? 4 : small.ends_with("int2") ? 2 : 8;
}

void dequantize_linear(Importer& importer, const OnnxNode& node) {
  const std::vector<Value> operands = operands_of(importer, node);
  require_float_type(node, "output_dtype");
  const int64_t axis = node.integer("axis", 1), block_size = node.integer("block_size", 0);
  const Value y = importer.apply(node, "dequantize_linear", {{"axis", axis}, {"block_size", block_size}}, operands,
                                 operands[0].rank);
  if (y.constant.defined())
    importer.note_dequantized(
        y.constant, {operands[0].constant, operands[1].constant, operands.size() > 2 ? operands[2].constant : NDArray(),
                     axis, block_size, bits_of(importer.declared_type(node.input(0)))});
  importer.set(node, 0, y);
}

// Of the range that the values and 0 have; a range that is the point 0 gets the scale 1.
void dynamic_quantize_linear(Importer& importer, const OnnxNode& node) {
  const auto apply = [&](const char* op, const std::vector<Value>& operands, const Attributes& attributes = {}) {
    return importer.apply(node, op, attributes, operands, 0);
  };
  const Value x = importer.input(node, 0), zero = Importer::number(0);
  const Attributes all{{"axes", std::vector<int64_t>{}}, {"keepdim", false}};
  const Value low = apply("minimum", {apply("min", {x}, all), zero});
  const Value high = apply("maximum", {apply("max", {x}, all), zero});
  const Value range = apply("sub", {high, low});
  const Value step = apply("div", {range, Importer::number(255)});
  const Value scale = apply("where", {apply("equal", {range, zero}), Importer::number(1), step});
  const Attributes to_uint8{{"type", std::string("uint8")}};
  const Value zero_point = apply("quantize_linear", {apply("neg", {low}), scale}, to_uint8);
  importer.note_type(node.output(0), TensorProto::UINT8);
  importer.note_type(node.output(2), TensorProto::UINT8);
  const Value q = importer.apply(node, "quantize_linear", to_uint8, {x, scale, zero_point}, x.rank);
  if (q.node) importer.quantized().sums.dynamic[q.node] = {x.node, scale.node, zero_point.node};
  importer.set(node, 0, q);
  importer.set(node, 1, scale);
  importer.set(node, 2, zero_point);
}

}  // namespace

void add_quantization(Handlers& handlers) {
  const Handlers own{{"DequantizeLinear", dequantize_linear},
                     {"DynamicQuantizeLinear", dynamic_quantize_linear},
                     {"QuantizeLinear", quantize_linear},
                     {"com.microsoft.DequantizeLinear", dequantize_linear},
                     {"com.microsoft.QuantizeLinear", quantize_linear}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
