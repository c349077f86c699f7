// MNIST (LeCun, Cortes, Burges) and the data sets that come in its format.
//
//   data::MNIST train("data/mnist", data::Split::train, {.crop = 20, .flatten = true});
#pragma once

#include <string>

#include <thimble/core/api.h>
#include <thimble/nn/data/image_dataset.h>
#include <thimble/nn/data/split.h>

namespace thimble::data {

/// See ImageDataset; labels are 0 to 9.
class THIMBLE_API MNIST : public ImageDataset {
 public:
  /// Reads {train,t10k}-{images-idx3,labels-idx1}-ubyte, plain or .gz, from `folder`. Throws IOError that says what to
  /// do if a file is missing, FormatError if a file is not what it should be, ValueError for impossible preprocessing.
  MNIST(const std::string& folder, Split split, const Preprocessing& preprocessing = {})
      : MNIST(folder, split, preprocessing, "run scripts/fetch-mnist " + folder) {}

 protected:
  /// `remedy` ends the message about a missing file.
  MNIST(const std::string& folder, Split split, const Preprocessing& preprocessing, const std::string& remedy);
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

/// Files of that format with any classes: EMNIST, whose letters are 1 to 26, and your own. There are as many classes as
/// the largest label says, so with those letters 27, of which the first has no picture.
class THIMBLE_API IdxImages : public ImageDataset {
 public:
  /// `path` is a folder with the files that MNIST has (those of the test set may begin with "test", too), or how their
  /// names begin: "data/emnist-letters" for data/emnist-letters-train-images-idx3-ubyte.gz and its like. Throws as
  /// MNIST.
  explicit IdxImages(const std::string& path, Split split, const Preprocessing& preprocessing = {});
};

}  // namespace thimble::data
