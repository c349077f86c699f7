// Matrix products and other sums of products.
#include <algorithm>

#include <thimble/serialization/onnx/handlers.h>
#include <thimble/serialization/onnx/shape_values.h>

namespace thimble::onnx {

namespace {

Value transposed(Importer& importer, const OnnxNode& node, const Value& x) {
  return importer.apply(node, "transpose", {{"axis0", int64_t{0}}, {"axis1", int64_t{1}}}, {x});
}

Value scaled(Importer& importer, const OnnxNode& node, const Value& x, double factor) {
  return factor == 1 ? x : importer.apply(node, "mul", {}, {x, Importer::number(factor)});
}

// A layer where its weight is known, which quantization and training know what to do with.
Value linear(Importer& importer, const OnnxNode& node, const Value& x, const NDArray& weight, const NDArray& bias) {
  NamedArrays tensors{{"weight", weight}};
  if (bias.defined()) tensors.emplace_back("bias", bias);
  const Attributes attributes{
      {"in_features", weight.shape(1)}, {"out_features", weight.shape(0)}, {"bias", bias.defined()}};
  return importer.call(node, "Linear", attributes, tensors, {x}, x.rank);
}

bool is_weight(const Value& x) { return x.constant.defined() && x.rank == 2 && x.constant.dtype() == DType::float32; }

// What is added to each row, as a layer has it; undefined if it is not one for all rows.
NDArray bias_of(const NDArray& c, const NDArray& weight) {
  const int64_t out = weight.shape(0);
  const bool is_row =
      c.defined() && (c.ndim() < 2 || (c.ndim() == 2 && c.shape(0) == 1)) && c.dtype() == weight.dtype();
  if (!is_row || (c.numel() != out && c.numel() != 1)) return {};
  return c.shape() == Shape{out} ? c : c.reshape({c.numel()}).broadcast_to({out}).contiguous();
}

void gemm(Importer& importer, const OnnxNode& node) {
  const double alpha = node.number("alpha", 1), beta = node.number("beta", 1);
  node.integer("broadcast", 1);  // before opset 7: whether C may be smaller
  const bool trans_a = node.integer("transA", 0) != 0, trans_b = node.integer("transB", 0) != 0;
  Value a = importer.input(node, 0);
  if (trans_a) a = transposed(importer, node, a);
  const Value& b = importer.input(node, 1);
  const bool has_c = importer.has_input(node, 2) && beta != 0;
  if (is_weight(b) && alpha == 1 && !a.constant.defined()) {
    const NDArray weight = trans_b ? b.constant : importer.transposed(b.constant);
    const NDArray bias = has_c && beta == 1 ? bias_of(importer.input(node, 2).constant, weight) : NDArray();
    if (!has_c || bias.defined()) return importer.set(node, 0, linear(importer, node, a, weight, bias));
  }
  const Value product = importer.apply(node, "matmul", {}, {a, trans_b ? transposed(importer, node, b) : b});
  Value y = scaled(importer, node, product, alpha);
  if (has_c) y = importer.apply(node, "add", {}, {y, scaled(importer, node, importer.input(node, 2), beta)});
  importer.set(node, 0, y);
}

void matmul(Importer& importer, const OnnxNode& node) {
  const Value &a = importer.input(node, 0), &b = importer.input(node, 1);
  if (is_weight(b) && a.rank >= 2 && !a.constant.defined())
    return importer.set(node, 0, linear(importer, node, a, importer.transposed(b.constant), {}));
  const Value y = importer.apply(node, "matmul", {}, {a, b});
  if (a.rank < 0 || b.rank < 0 || y.constant.defined()) return importer.set(node, 0, y);
  Value known = y;
  const bool has_vector = a.rank == 1 || b.rank == 1;
  known.rank = a.rank == 1 && b.rank == 1 ? 0 : std::max(a.rank, b.rank) - (has_vector ? 1 : 0);
  importer.set(node, 0, known);
}

void einsum(Importer& importer, const OnnxNode& node) {
  const std::string equation = node.text("equation", "");
  std::vector<Value> operands;
  for (size_t i = 0; i < node.num_inputs(); ++i) operands.push_back(importer.input(node, i));
  const Value y = importer.apply(node, "einsum", {{"equation", equation}}, operands);
  const size_t arrow = equation.find("->");
  if (arrow == std::string::npos || equation.find('.', arrow) != std::string::npos || y.constant.defined())
    return importer.set(node, 0, of_unknown_rank(y));
  Value known = y;
  known.rank = static_cast<int>(std::ranges::count_if(equation.substr(arrow + 2), [](char c) { return c != ' '; }));
  importer.set(node, 0, known);
}

}  // namespace

void add_products(Handlers& handlers) {
  const Handlers own{{"Einsum", einsum}, {"Gemm", gemm}, {"MatMul", matmul}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
