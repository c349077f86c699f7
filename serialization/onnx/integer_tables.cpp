#include <algorithm>

#include <thimble/quant/layers/quantized_ops.h>
#include <thimble/serialization/onnx/integer_tables.h>

namespace thimble::onnx {

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
