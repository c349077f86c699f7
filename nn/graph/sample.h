// What a graph's inputs are like: one sample of the example that it was traced with.
#pragma once

#include <optional>

#include <thimble/core/api.h>
#include <thimble/core/dtype.h>
#include <thimble/core/shape.h>
#include <thimble/nn/graph/graph.h>

namespace thimble::nn {

/// An input's dtype and sizes.
struct THIMBLE_API Sample {
  DType dtype = DType::float32;
  Shape shape;  ///< without the batch, the first dimension
};

/// The attributes, "dtype" and "sample_shape", by which the node of an input remembers its example. None for an example
/// without dimensions, which is no batch.
THIMBLE_API Attributes sample_attributes(const Tensor& example);

/// What the node of an input remembers; none if it was not traced, or comes from a file that was written before inputs
/// did. Sizes are as the file has them: whoever makes such an array checks that they are reasonable. Throws
/// FormatError for attributes that sample_attributes() did not write.
THIMBLE_API std::optional<Sample> sample_of(const Node& input);

}  // namespace thimble::nn
