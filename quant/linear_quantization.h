// Quantization as ops of a graph, by parameters that are values: what ONNX calls QuantizeLinear and DequantizeLinear.
//
//   Tensor scale = NDArray::full({}, 0.1), zero_point = NDArray::full({}, 3, DType::int8);
//   Tensor q = quant::quantize_linear(x, scale, zero_point);        // of the zero point's dtype
//   Tensor y = quant::dequantize_linear(q, scale, zero_point);
//
// scale, float32, and zero_point, of the integers' dtype, which may be undefined (0), have one element for all of x; or
// [x's size along `axis`], for each index along it; or, with blocks, x's shape but for the axis, which has an element
// for each `block_size` consecutive ones (the last block may be smaller).
#pragma once

#include <cstdint>
#include <string>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble::quant {

/// Along which axis parameters lie, if there are several.
struct THIMBLE_API ParameterAxis {
  int64_t axis = 1;
  int64_t block_size = 0;  ///< 0: no blocks
};

/// saturate(round_half_even(x / scale) + zero_point). `type` is "uint8", "int8", "uint16" or "int16"; of fewer bits,
/// "uint4", "int4", "uint2" and "int2", in uint8 or int8; or a name of SmallFloat (core/small_float.h), to whose values
/// x / scale is rounded, as float32, by round_to_small_float(..., saturate). Empty: the zero point's dtype, or uint8. x
/// is float32, or int32, which is converted. NaN becomes the type's smallest integer. Training goes through
/// fake_quantize(): this has no gradient. Throws ShapeError for parameters that do not fit x, DTypeError for other
/// dtypes, ValueError for an unknown type.
THIMBLE_API Tensor quantize_linear(const Tensor& x, const Tensor& scale, const Tensor& zero_point = {},
                                   const ParameterAxis& axis = {}, const std::string& type = "", bool saturate = true);

/// (x - zero_point) * scale, float32. x is of any integer dtype, or float32 for values of small floats. Throws
/// ShapeError for parameters that do not fit x, DTypeError for other dtypes.
THIMBLE_API Tensor dequantize_linear(const Tensor& x, const Tensor& scale, const Tensor& zero_point = {},
                                     const ParameterAxis& axis = {});

}  // namespace thimble::quant
