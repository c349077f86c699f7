#include <algorithm>
#include <cmath>

#include <thimble/quant/layers/quantized_ops.h>
#include <thimble/serialization/onnx/integer_tables.h>

namespace thimble::onnx {

using quant::TensorQParams;

NDArray floats_of(const TensorQParams& p) {
  NDArray x({p.qmax() + 1});
  for (int32_t q = 0; q <= p.qmax(); ++q) x.data<float>()[q] = p.scale * static_cast<float>(q - p.zero_point);
  return x;
}

std::vector<uint8_t> table_of(const NDArray& floats, const TensorQParams& p) {
  std::vector<uint8_t> table;
  for (const float v : floats.to_vector<float>()) {
    const float q = std::nearbyint(v / p.scale) + static_cast<float>(p.zero_point);
    table.push_back(static_cast<uint8_t>(q > 0 ? std::min(q, static_cast<float>(p.qmax())) : 0));  // 0 for NaN, too
  }
  table.resize(256, table.back());
  return table;
}

std::shared_ptr<nn::Module> table_layer(const std::vector<uint8_t>& table, int32_t qmax) {
  const auto [low, high] = std::ranges::minmax(table);
  bool is_same = true, is_clamp = true;
  for (int32_t q = 0; q <= qmax; ++q) {
    const uint8_t value = table[static_cast<size_t>(q)];
    is_same = is_same && value == q;
    is_clamp = is_clamp && value == std::clamp<int32_t>(q, low, high);
  }
  if (is_same) return nullptr;
  if (is_clamp) return std::make_shared<quant::QuantizedClamp>(low, high);
  return std::make_shared<quant::QuantizedTable>(table);
}

}  // namespace thimble::onnx
