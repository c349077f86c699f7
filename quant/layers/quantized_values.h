// What integers stand for, for functions of one quantized value. Internal.
#pragma once

#include <cstdint>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::quant {

/// Which float each integer stands for, [qmax + 1].
THIMBLE_API NDArray floats_of(const TensorQParams& parameters);

/// These floats, one for each integer of an input, quantized: 256 entries, the last repeated if there are fewer floats.
/// NaN becomes 0.
THIMBLE_API std::vector<uint8_t> table_of(const NDArray& floats, const TensorQParams& parameters);

}  // namespace thimble::quant
