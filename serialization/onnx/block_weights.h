// Weights of few bits that have scales in blocks, for WeightOnlyLinear. Internal.
#pragma once

#include <cstdint>
#include <vector>

#include <thimble/core/attributes.h>
#include <thimble/core/ndarray.h>

namespace thimble::onnx {

/// w = scale * (value - zero_point), of [out, in]. `group_size` consecutive inputs share a scale and a zero point; 0:
/// all of a row do.
struct BlockWeights {
  int64_t out = 0, in = 0;
  int bits = 8;
  int64_t group_size = 0;
  std::vector<uint8_t> values;      ///< [out, in]
  std::vector<float> scale;         ///< [out, groups()]
  std::vector<uint8_t> zero_point;  ///< the same

  int64_t groups() const { return group_size == 0 ? 1 : (in - 1) / group_size + 1; }
};

/// Rows of `row_bytes` bytes each as `count` unsigned integers of 2, 4 or 8 bits, the first in the lowest.
std::vector<uint8_t> unpacked_rows(const uint8_t* bytes, int64_t rows, int64_t row_bytes, int64_t count, int bits);

/// What a WeightOnlyLinear is made of and loads.
struct WeightOnlyTensors {
  Attributes attributes;
  NamedArrays tensors;
};
/// Scales may be negative or 0, too. `bias`, float32 [out], may be undefined.
WeightOnlyTensors weight_only_tensors(BlockWeights weights, const NDArray& bias);

}  // namespace thimble::onnx
