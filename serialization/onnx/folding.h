// Constants that are computed while a model is read. Internal.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <thimble/core/attributes.h>
#include <thimble/core/ndarray.h>
#include <thimble/serialization/onnx/import_budget.h>

namespace thimble::onnx {

/// What the op gives of known operands; nothing where that is to be computed when the graph runs: for a result of far
/// more elements than are given, for ops that take long for their size, and beyond the budget. Throws FormatError for
/// sizes, repeats or bounds that ask for far too many elements, and what the op itself says.
std::optional<NDArray> folded(const std::string& op, const Attributes& attributes, const std::vector<NDArray>& operands,
                              ImportBudget& budget);

/// A known value as an attribute of an op: a number, or a list.
Attribute attribute_of(const NDArray& value);

}  // namespace thimble::onnx
