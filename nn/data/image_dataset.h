// Base of datasets of pictures of one size, each with a class.
#pragma once

#include <array>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/data/dataset.h>
#include <thimble/nn/data/preprocessing.h>

namespace thimble::data {

/// No more classes than that are believed: one label that is far too large would make a model of any size. At least
/// 65536, and as many as there are examples.
constexpr int64_t most_classes(int64_t examples) { return examples < 65536 ? 65536 : examples; }

/// Fields "image", float32 [n, channels, height, width], or [n, channels * height * width] if flattened, and "label",
/// int64 [n]. Pixels stay in memory as bytes and are converted as batches are made.
class THIMBLE_API ImageDataset : public Dataset {
 public:
  /// pixels uint8 [n, height, width] of grey pictures, or [n, channels, height, width]; labels uint8 or int64 [n], from
  /// 0 on. Throws ShapeError or DTypeError for others, ValueError for no picture, a label that is negative or
  /// most_classes() or more, impossible preprocessing, or one that asks colour pictures for other channels than their
  /// own.
  ImageDataset(NDArray pixels, NDArray labels, const Preprocessing& preprocessing = {});

  int64_t size() const override { return labels_.numel(); }
  /// Without the batch.
  const Shape& image_shape() const { return image_shape_; }
  const Preprocessing& preprocessing() const { return preprocessing_; }
  /// One more than the largest label.
  int64_t num_classes() const { return num_classes_; }
  /// Mean and standard deviation of each channel over all pixels of all pictures, scaled to [0, 1], as they lie in the
  /// dataset: what Preprocessing::channel_mean and channel_std may be. A channel of one value has a deviation of 1.
  struct Moments {
    std::vector<double> mean, std;
  };
  Moments channel_moments() const;
  /// As they were given.
  const NDArray& pixels() const { return pixels_; }
  const NDArray& labels() const { return labels_; }

 private:
  Batch make(std::span<const int64_t> indices, const Generator& random) const override;
  /// Both return the end of what they have written.
  float* write_picture(const uint8_t* pixels, float* out) const;
  float* write_channel(const uint8_t* pixels, const std::array<float, 256>& value_of_pixel, float* out) const;

  NDArray pixels_, labels_;
  int64_t height_ = 0, width_ = 0;
  int64_t channels_ = 1;  // of the pictures
  int64_t num_classes_ = 0;
  Preprocessing preprocessing_;
  Shape image_shape_;
  std::vector<std::array<float, 256>> values_of_pixel_;  // of each channel, or one for all
};

}  // namespace thimble::data
