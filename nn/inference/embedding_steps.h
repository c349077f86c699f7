// The steps of layers that read rows of a table, of floats or of integers. Internal to the library.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include <thimble/core/ops/embedding.h>
#include <thimble/nn/inference/inference.h>

namespace thimble::nn {

/// Reads the rows that index [n, 1] names, an int64 or int32 array, into rows [n, columns]. Checks the index, and
/// takes no memory.
using ReadRows = std::function<void(const NDArray& index, NDArray& rows)>;
/// The same for bags: embedding_bag_into() of these arrays. Offsets and scales may be undefined.
using ReadBags =
    std::function<void(const NDArray& index, const NDArray& offsets, const NDArray& scales, NDArray& bags)>;

/// Null for inputs that have no step: not one index that lies as usual, or one whose rows would lie as an image.
std::unique_ptr<InferenceStep> embedding_step(std::span<const ValueInfo> inputs, int64_t columns, ReadRows read);

/// An index, offsets if it has one dimension, and factors (float32) if they come last. Null for what has no step.
std::unique_ptr<InferenceStep> embedding_bag_step(std::span<const ValueInfo> inputs, int64_t columns, BagMode mode,
                                                  ReadBags read);

/// What is what among an EmbeddingBag's inputs.
struct BagInputs {
  Tensor index, offsets, scales;

  /// Throws ValueError or DTypeError that begins with `type` for another number or order of inputs.
  static BagInputs from(const std::string& type, std::span<const Tensor> inputs);
};

}  // namespace thimble::nn
