// Dataset: examples by number.
#pragma once

#include <span>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble::data {

/// Images and their labels.
struct THIMBLE_API Batch {
  Tensor images;  ///< float32 [n, image shape...]
  Tensor labels;  ///< int64 [n]
};

/// Base: a fixed number of images of one shape, each with a label.
class THIMBLE_API Dataset {
 public:
  virtual ~Dataset() = default;

  /// Number of examples.
  virtual int64_t size() const = 0;
  /// Shape of one image, without the batch dimension.
  virtual Shape image_shape() const = 0;

  /// The examples of these numbers, in this order. Safe to call from several threads. Throws ValueError for a number
  /// out of range.
  Batch batch(std::span<const int64_t> indices) const;

  /// The first image, [1, image shape...], for tracing a model.
  Tensor example() const;

 private:
  /// Writes the images, contiguous and one after the other, and the labels. Indices have been checked. Runs in a
  /// loader's thread, beside training: it should not use parallel_for.
  virtual void fill(std::span<const int64_t> indices, std::span<float> images, std::span<int64_t> labels) const = 0;
};

}  // namespace thimble::data
