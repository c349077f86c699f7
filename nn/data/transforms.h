// Transforms: what becomes of examples on their way into a batch, much of it drawn at random.
//
//   auto train = std::make_shared<data::Transformed>(
//       pictures, "image", std::vector<data::Transform>{data::RandomCrop(32, {.padding = 4}),
//       data::RandomHorizontalFlip()});
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/ops/pair.h>
#include <thimble/nn/data/dataset.h>

namespace thimble::data {

/// From one example's array, without a batch dimension, to what it becomes. Whatever is random is drawn from `random`,
/// which is the example's own: then a run that is resumed sees the same, bit for bit. Called from a loader's threads.
using Transform = std::function<NDArray(const NDArray& x, Generator& random)>;

/// A dataset whose field `field` has gone through transforms, one after the other.
class THIMBLE_API Transformed : public Dataset {
 public:
  /// Throws ValueError for no dataset, or an empty function.
  Transformed(std::shared_ptr<const Dataset> dataset, std::string field, std::vector<Transform> transforms);

  int64_t size() const override { return dataset_->size(); }

 private:
  Batch make(std::span<const int64_t> indices, const Generator& random) const override;

  std::shared_ptr<const Dataset> dataset_;
  std::string field_;
  std::vector<Transform> transforms_;
};

// Transforms of images, float32 [channels, height, width]. Others throw ShapeError or DTypeError.

/// Of RandomCrop.
struct THIMBLE_API RandomCropOptions {
  int64_t padding = 0;  ///< pixels on each side of the image
  float fill = 0;       ///< what they are
};

/// A part of so many pixels, height and width, at a place drawn at random, of the padded image. Throws ShapeError for
/// images that are smaller than that.
class THIMBLE_API RandomCrop {
 public:
  /// Throws ValueError for sizes that are not positive, or a negative padding.
  explicit RandomCrop(Pair size, const RandomCropOptions& options = {});
  NDArray operator()(const NDArray& x, Generator& random) const;

 private:
  Pair size_;
  RandomCropOptions options_;
};

/// Left becomes right, with probability p. Throws ValueError unless p is 0 to 1.
class THIMBLE_API RandomHorizontalFlip {
 public:
  explicit RandomHorizontalFlip(double p = 0.5);
  NDArray operator()(const NDArray& x, Generator& random) const;

 private:
  double p_;
};

/// Rotated clockwise about its middle, then shifted to the right and down by so many pixels: what is between pixels is
/// interpolated linearly, what is outside is `fill`. torchvision's affine(), bilinear and without a fill.
THIMBLE_API NDArray affine(const NDArray& image, double degrees, double right, double down, float fill = 0);

/// Of RandomAffine.
struct THIMBLE_API RandomAffineOptions {
  double degrees = 0;  ///< rotated by -degrees to degrees about the middle
  double shift_x = 0;  ///< shifted by up to so much of the width to either side
  double shift_y = 0;  ///< and of the height
  float fill = 0;      ///< what lies outside of the image
};

/// affine() by an angle and a shift, in whole pixels, that are drawn uniformly.
class THIMBLE_API RandomAffine {
 public:
  /// Throws ValueError for a negative number or a shift beyond 1.
  explicit RandomAffine(const RandomAffineOptions& options);
  NDArray operator()(const NDArray& x, Generator& random) const;

 private:
  RandomAffineOptions options_;
};

/// A square of size x size pixels becomes `fill` in all channels (DeVries, Taylor 2017). Its middle is drawn from all
/// pixels, so a part of it may lie outside. Throws ValueError for a size that is not positive.
class THIMBLE_API Cutout {
 public:
  explicit Cutout(int64_t size, float fill = 0);
  NDArray operator()(const NDArray& x, Generator& random) const;

 private:
  int64_t size_;
  float fill_;
};

/// (x - mean) / std, a number each for every channel, or one for all.
class THIMBLE_API Normalize {
 public:
  /// Throws ValueError for no numbers, not as many of both, such as are not finite, or an std that is not positive.
  Normalize(std::vector<float> mean, std::vector<float> std);
  NDArray operator()(const NDArray& x, Generator& random) const;

 private:
  std::vector<float> mean_, std_;
};

/// Changes a whole batch, for which it draws once; see DataLoaderOptions::transform. Called by several threads at once
/// if there are several workers.
using BatchTransform = std::function<void(Batch& batch, Generator& random)>;

/// Each input becomes lambda of itself and 1 - lambda of another of the batch, and so does its class, given as
/// probabilities [n, classes] then (Zhang et al. 2018). lambda is Beta(alpha, alpha), one for each batch. Of batches of
/// two fields: floats, and classes, int64 [n].
class THIMBLE_API MixUp {
 public:
  /// Throws ValueError unless alpha is positive and there are two classes or more.
  MixUp(double alpha, int64_t classes);
  void operator()(Batch& batch, Generator& random) const;

 private:
  double alpha_;
  int64_t classes_;
};

}  // namespace thimble::data
