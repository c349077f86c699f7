#include <algorithm>
#include <string>

#include <thimble/serialization/onnx/block_weights.h>

namespace thimble::onnx {

namespace {

// The layer's scales are above 0: values of a negative one are turned around, those of 0 become their zero point.
void make_scales_positive(BlockWeights& w) {
  const int64_t groups = w.groups(), size = w.group_size == 0 ? w.in : w.group_size;
  const auto last = static_cast<uint8_t>((1 << w.bits) - 1);
  for (int64_t i = 0; i < w.out * groups; ++i) {
    float& scale = w.scale[static_cast<size_t>(i)];
    uint8_t& zero_point = w.zero_point[static_cast<size_t>(i)];
    if (!(scale <= 0)) continue;
    const int64_t first = i % groups * size, end = std::min(first + size, w.in), row = i / groups * w.in;
    for (int64_t k = row + first; k < row + end; ++k) {
      uint8_t& value = w.values[static_cast<size_t>(k)];
      value = scale == 0 ? zero_point : static_cast<uint8_t>(last - value);
    }
    if (scale < 0) zero_point = static_cast<uint8_t>(last - zero_point);
    scale = scale == 0 ? 1 : -scale;
  }
}

NDArray packed_rows(const BlockWeights& w) {
  const auto per_byte = static_cast<int64_t>(8 / w.bits), bytes = (w.in + per_byte - 1) / per_byte;
  NDArray packed = NDArray::zeros({w.out, bytes}, DType::uint8);
  for (int64_t row = 0; row < w.out; ++row)
    for (int64_t i = 0; i < w.in; ++i) {
      const unsigned value = w.values[static_cast<size_t>(row * w.in + i)];
      packed.data<uint8_t>()[row * bytes + i / per_byte] |= static_cast<uint8_t>(value << (i % per_byte * w.bits));
    }
  return packed;
}

}  // namespace

std::vector<uint8_t> unpacked_rows(const uint8_t* bytes, int64_t rows, int64_t row_bytes, int64_t count, int bits) {
  std::vector<uint8_t> values(static_cast<size_t>(rows * count));
  const int64_t per_byte = 8 / bits;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < count; ++i)
      values[static_cast<size_t>(row * count + i)] =
          static_cast<uint8_t>((bytes[row * row_bytes + i / per_byte] >> (i % per_byte * bits)) & ((1 << bits) - 1));
  return values;
}

WeightOnlyTensors weight_only_tensors(BlockWeights w, const NDArray& bias) {
  make_scales_positive(w);
  const auto middle = static_cast<uint8_t>(1 << (w.bits - 1));
  const bool is_symmetric = std::ranges::all_of(w.zero_point, [middle](uint8_t z) { return z == middle; });
  const Shape parameters = w.group_size == 0 ? Shape{w.out} : Shape{w.out, w.groups()};
  WeightOnlyTensors layer{{{"in_features", w.in},
                           {"out_features", w.out},
                           {"bits", int64_t{w.bits}},
                           {"scheme", std::string(is_symmetric ? "symmetric" : "affine")},
                           {"group_size", w.group_size},
                           {"relu", false},
                           {"bias", bias.defined()}},
                          {{"weight", packed_rows(w)}, {"weight_scale", NDArray::from_vector(w.scale, parameters)}}};
  if (!is_symmetric) layer.tensors.emplace_back("weight_zero_point", NDArray::from_vector(w.zero_point, parameters));
  if (bias.defined()) layer.tensors.emplace_back("bias", bias);
  return layer;
}

}  // namespace thimble::onnx
