// Values that lie in an order of their own, and how to make them. Internal.
#pragma once

#include <thimble/nn/inference/inference.h>

namespace thimble::nn {

/// Elements from each index of a dimension to the next; not of flattened images.
Shape strides_of(const ValueInfo& x);

/// A value whose elements lie in row-major order, whatever its number of dimensions.
ValueInfo row_major(const Shape& shape, DType dtype);

/// A value with a place of its own whose elements lie in these strides, without gaps.
ValueInfo lying_as(const Shape& shape, DType dtype, const Shape& strides);

/// flatten() of some dimensions.
std::unique_ptr<InferenceStep> flattened_view(const Attributes& attributes, std::span<const ValueInfo> inputs);

}  // namespace thimble::nn
