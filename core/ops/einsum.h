// Sums of products by names of dimensions.
#pragma once

#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// Einstein's summation as in NumPy and PyTorch: "bij,bjk->bik". Letters name dimensions; those that the result lacks
/// are summed over, one that an operand names twice is a diagonal, and "..." stands for any others, which broadcast.
/// Without "->" the result has the letters that occur once, in alphabetical order. Operands are of one dtype. Throws
/// ValueError for an equation that is none, ShapeError for operands that do not fit it.
THIMBLE_API Tensor einsum(const std::string& equation, const std::vector<Tensor>& operands);

}  // namespace thimble
