// What integers stand for, for functions of one quantized value. Internal.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::quant {

/// Which float each integer stands for, [qmax + 1].
THIMBLE_API NDArray floats_of(const TensorQParams& parameters);

/// These floats, one for each integer of an input, quantized: 256 entries, the last repeated if there are fewer floats.
/// NaN becomes 0.
THIMBLE_API std::vector<uint8_t> table_of(const NDArray& floats, const TensorQParams& parameters);

/// What all floats that the integers stand for are multiplied by, if these are their products with a positive number
/// and the scale's with it is sound; none otherwise.
THIMBLE_API std::optional<double> factor_of(const NDArray& floats, const TensorQParams& parameters);

/// The part of the range of `input` that a function needs: where it gives the same integer of `output` from a point on
/// to the end, that end is cut off, but not what holds 0. hardswish needs nothing below -3, silu little below -8.
/// `function` takes an array of any length.
THIMBLE_API TensorQParams needed_range(const TensorQParams& input, const TensorQParams& output,
                                       const std::function<NDArray(const NDArray&)>& function);

}  // namespace thimble::quant
