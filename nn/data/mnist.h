// MNIST (LeCun, Cortes, Burges) and the data sets that come in its format.
//
//   data::MNIST train("data/mnist", data::Split::train, {.crop = 20, .flatten = true});
#pragma once

#include <array>
#include <string>

#include <thimble/core/api.h>
#include <thimble/nn/data/dataset.h>
#include <thimble/nn/data/preprocessing.h>
#include <thimble/nn/data/split.h>

namespace thimble::data {

/// Fields "image", float32 [n, channels, height, width], or [n, channels * height * width] if flattened, and "label",
/// int64 [n], 0 to 9. Pixels stay in memory as bytes and are converted as batches are made.
class THIMBLE_API MNIST : public Dataset {
 public:
  /// Reads {train,t10k}-{images-idx3,labels-idx1}-ubyte, plain or .gz, from `folder`. Throws IOError that says what to
  /// do if a file is missing, FormatError if a file is not what it should be, ValueError for impossible preprocessing.
  MNIST(const std::string& folder, Split split, const Preprocessing& preprocessing = {})
      : MNIST(folder, split, preprocessing, "run scripts/fetch-mnist " + folder) {}

  int64_t size() const override { return labels_.numel(); }
  /// Without the batch.
  const Shape& image_shape() const { return image_shape_; }
  const Preprocessing& preprocessing() const { return preprocessing_; }
  /// What the files hold: uint8 [n, height, width] and [n].
  const NDArray& pixels() const { return images_; }
  const NDArray& labels() const { return labels_; }

 protected:
  /// `remedy` ends the message about a missing file.
  MNIST(const std::string& folder, Split split, const Preprocessing& preprocessing, const std::string& remedy);

 private:
  Batch make(std::span<const int64_t> indices, const Generator& random) const override;
  void write_channel(const uint8_t* pixels, float* out) const;

  NDArray images_, labels_;  // uint8 [n, height, width] and [n]
  Preprocessing preprocessing_;
  Shape image_shape_;
  std::array<float, 256> value_of_pixel_;
};

/// Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): the same format, clothes instead of digits.
class THIMBLE_API FashionMNIST : public MNIST {
 public:
  /// Where Debian's package puts it.
  static constexpr const char* kFolder = "/usr/share/datasets/fashion-mnist";

  /// As MNIST.
  explicit FashionMNIST(const std::string& folder, Split split, const Preprocessing& preprocessing = {})
      : MNIST(folder, split, preprocessing,
              std::string("Debian's package dataset-fashion-mnist puts Fashion-MNIST in ") + kFolder) {}
};

}  // namespace thimble::data
