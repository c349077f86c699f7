#include <algorithm>
#include <cmath>

#include <thimble/quant/layers/quantized_values.h>

namespace thimble::quant {

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

}  // namespace thimble::quant
