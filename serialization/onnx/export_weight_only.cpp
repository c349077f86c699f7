// Linear layers of which the weights alone are integers.
#include <thimble/quant/layers/weight_only_linear.h>
#include <thimble/serialization/onnx/export_handlers.h>
#include <thimble/serialization/onnx/export_products.h>

namespace thimble::onnx {

namespace {

using nn::Node;
using quant::WeightOnlyLinear;

// ONNX has integers of 2, 4 and 8 bits.
int stored_bits(const WeightOnlyLinear::Config& c) { return c.bits == 2 ? 2 : c.bits <= 4 ? 4 : 8; }

int64_t weight_only_opset(const Exporter& e, const Node& node) {
  constexpr int64_t kInt8 = 17, kBlocksAndInt4 = 21, kInt2 = 25;
  const WeightOnlyLinear::Config& c = e.graph().layer_as<WeightOnlyLinear>(&node)->config();
  const int bits = stored_bits(c);
  return bits == 2 ? kInt2 : bits == 4 || c.group_size > 0 ? kBlocksAndInt4 : kInt8;
}

std::string integers_of(Exporter& e, const Node& node, const char* part, const NDArray& values, int bits) {
  return bits == 8 ? e.tensor(node, part, values) : e.packed(node, part, values, bits);
}

struct QuantizedMatrix {
  NDArray integers;           // int8 or uint8 [out, in]
  NDArray scale, zero_point;  // [out] or [out, groups]
};

QuantizedMatrix matrix_of(const WeightOnlyLinear& layer) {
  QuantizedMatrix m{layer.unpacked(), state_array(layer, "weight_scale"), state_array(layer, "weight_zero_point")};
  if (!m.zero_point.defined()) m.zero_point = NDArray::zeros(m.scale.shape(), m.integers.dtype());
  return m;
}

// [in, out] or, unless it is `turned`, [out, in].
std::string dequantized_matrix(Exporter& e, const Node& node, const QuantizedMatrix& m, int bits, int64_t block_size,
                               bool turned) {
  const auto lying = [&](const NDArray& array) { return turned && array.ndim() == 2 ? array.transpose(0, 1) : array; };
  Attributes attributes{{"axis", int64_t{(block_size > 0) == turned ? 0 : 1}}};
  if (block_size > 0) attributes.set("block_size", block_size);
  return e.step(
      node, "DequantizeLinear",
      {integers_of(e, node, "weight", lying(m.integers), bits), e.tensor(node, "weight_scale", lying(m.scale)),
       integers_of(e, node, "weight_zero_point", lying(m.zero_point), bits)},
      attributes);
}

// Of [in, out] ONNX Runtime makes its MatMulNBits, which is wrong for 2 bits and outputs that are no multiple of 4; of
// the transpose of [out, in] in blocks, if only one for each output, it does not.
std::string matrix(Exporter& e, const Node& node, const WeightOnlyLinear& layer) {
  const WeightOnlyLinear::Config& c = layer.config();
  const int bits = stored_bits(c);
  QuantizedMatrix m = matrix_of(layer);
  if (bits > 2 || c.out_features % 4 == 0) return dequantized_matrix(e, node, m, bits, c.group_size, true);
  if (c.group_size == 0) m = {m.integers, m.scale.unsqueeze(1), m.zero_point.unsqueeze(1)};
  const int64_t block_size = c.group_size == 0 ? c.in_features : c.group_size;
  return e.step(node, "Transpose", {dequantized_matrix(e, node, m, bits, block_size, false)},
                {{"perm", std::vector<int64_t>{1, 0}}});
}

void write_weight_only(Exporter& e, const Node& node) {
  const auto& layer = *e.graph().layer_as<WeightOnlyLinear>(&node);
  e.needs_session_option({"session.qdq_matmulnbits_accuracy_level", "1",
                          "layers whose weights alone are integers take floats, which ONNX Runtime else rounds to 8 "
                          "bits in blocks of 32"});
  std::string value = e.step(node, "MatMul", {e.input(node, 0), matrix(e, node, layer)});
  const NDArray bias = state_array(layer, "bias");
  if (bias.defined()) value = e.step(node, "Add", {value, e.tensor(node, "bias", bias)});
  // With a Relu it would become a product of floats and relu in one.
  if (layer.config().relu)
    e.result(node, "Max", {value, e.number(0)});
  else
    e.result_is(node, value);
}

}  // namespace

void add_weight_only_exports(ExportHandlers& handlers) {
  handlers["WeightOnlyLinear"] = {write_weight_only, weight_only_opset};
}

}  // namespace thimble::onnx
