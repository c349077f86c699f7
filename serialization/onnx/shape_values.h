// Axes, sizes and bounds, which a model may compute: what handlers do with them. Internal.
#pragma once

#include <limits>
#include <vector>

#include <thimble/serialization/onnx/importer.h>

namespace thimble::onnx {

/// Behind the last element, whatever the size.
inline constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();

/// From 0 on; as it is, where the number of dimensions is not known. Throws FormatError for one that is out of range.
int64_t axis_in(const OnnxNode& node, int64_t axis, int rank);

/// The same for several, in their order. Throws FormatError for one that is named twice, too.
std::vector<int64_t> axes_in(const OnnxNode& node, std::vector<int64_t> axes, int rank);

/// a + b and a * b of sizes that a file declares. Throws FormatError for what is no int64, or is below 0.
int64_t sum_of_sizes(const OnnxNode& node, int64_t a, int64_t b);
int64_t product_of_sizes(const OnnxNode& node, int64_t a, int64_t b);

/// How many entries a list has: where it says how many dimensions an output has, that must be known. Throws FormatError
/// if it is not.
int length_of(const OnnxNode& node, const Value& list);

/// x[start:stop:step] along an axis.
Value slice_of(Importer& importer, const OnnxNode& node, const Value& x, int64_t axis, int64_t start, int64_t stop,
               int64_t step = 1);
Value squeezed(Importer& importer, const OnnxNode& node, const Value& x, int64_t axis);
/// Entry i of a list, as a number.
Value entry(Importer& importer, const OnnxNode& node, const Value& list, int64_t i);
/// Input i, of one element, as a number: without dimensions.
Value number_input(Importer& importer, const OnnxNode& node, size_t i);
/// The sizes of x, a list.
Value sizes_of(Importer& importer, const OnnxNode& node, const Value& x);

/// The same value, of which nobody knows how many dimensions it has, unless it is known itself.
Value of_unknown_rank(Value value);

}  // namespace thimble::onnx
