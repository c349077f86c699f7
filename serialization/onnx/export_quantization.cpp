#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/serialization/onnx/export_quantization.h>

namespace thimble::onnx {

namespace {

std::string uint8_number(Exporter& e, int32_t value) { return e.number(value, DType::uint8); }

std::vector<std::string> with_qparams(Exporter& e, const std::string& x, const quant::TensorQParams& p) {
  return {x, e.number(double{p.scale}), uint8_number(e, p.zero_point)};
}

std::vector<std::string> with_bounds(Exporter& e, const std::string& q, IntegerBounds bounds) {
  return {q, uint8_number(e, bounds.low), uint8_number(e, bounds.high)};
}

// Half of each, rounded half to even.
template <typename T>
NDArray halved(const NDArray& values) {
  NDArray half(values.shape(), values.dtype());
  const NDArray dense = values.contiguous();
  std::transform(dense.data<T>(), dense.data<T>() + dense.numel(), half.data<T>(),
                 [](T value) { return static_cast<T>(std::nearbyint(value / 2.0)); });
  return half;
}

}  // namespace

std::string kept_float(Exporter& e, const nn::Node& node, const std::string& x) {
  return e.step(node, "Max", {x, e.number(double{std::numeric_limits<float>::lowest()})});
}

quant::TensorQParams qparams_in(const Exporter& e, const nn::Node& node, const std::string& prefix) {
  return quant::TensorQParams::from_attributes(e.graph().layer(&node).attributes(), prefix);
}

std::string dequantized(Exporter& e, const nn::Node& node, const std::string& q, const quant::TensorQParams& p) {
  return e.step(node, "DequantizeLinear", with_qparams(e, q, p));
}

std::string quantized(Exporter& e, const nn::Node& node, const std::string& x, const quant::TensorQParams& p,
                      IntegerBounds bounds) {
  const std::string q = e.step(node, "QuantizeLinear", with_qparams(e, e.without_clamps(x, p), p));
  return bounds.all() ? q : e.step(node, "Clip", with_bounds(e, q, bounds));
}

void write_quantized(Exporter& e, const nn::Node& node, const std::string& x, const quant::TensorQParams& p,
                     int32_t low) {
  const IntegerBounds bounds{low, p.qmax()};
  e.set_qparams(node, p);
  const std::vector<std::string> inputs = with_qparams(e, e.without_clamps(x, p), p);
  if (bounds.all())
    e.result(node, "QuantizeLinear", inputs);
  else
    e.result(node, "Clip", with_bounds(e, e.step(node, "QuantizeLinear", inputs), bounds));
}

ExportedWeights::ExportedWeights(const quant::IntegerWeights& weights, bool reduce_range)
    : values(weights.shifted()), step(weights.steps()), is_halved(reduce_range) {
  if (!is_halved) return;
  values = halved<int8_t>(values);
  for (float& s : step) s *= 2;
}

NDArray ExportedWeights::in_unit(const NDArray& sums) const { return is_halved ? halved<int32_t>(sums) : sums; }

std::string dequantized_tensor(Exporter& e, const nn::Node& node, const std::string& part, const NDArray& values,
                               const std::vector<float>& scale, int64_t axis) {
  const NDArray zeros = NDArray::zeros({static_cast<int64_t>(scale.size())}, values.dtype());
  return e.step(node, "DequantizeLinear",
                {e.tensor(node, part, values), e.tensor(node, part + "_scale", NDArray::from_vector(scale)),
                 e.tensor(node, part + "_zero_point", zeros)},
                {{"axis", axis}});
}

}  // namespace thimble::onnx
