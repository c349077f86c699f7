// CIFAR-10 (Krizhevsky 2009): colour pictures of ten kinds of things.
//
//   data::CIFAR10 train("data/cifar10", data::Split::train);
#pragma once

#include <array>
#include <string>
#include <string_view>

#include <thimble/core/api.h>
#include <thimble/nn/data/image_dataset.h>
#include <thimble/nn/data/split.h>

namespace thimble::data {

/// See ImageDataset; pixels are uint8 [n, 3, 32, 32], labels 0 to 9.
class THIMBLE_API CIFAR10 : public ImageDataset {
 public:
  /// What the labels 0 to 9 mean.
  static constexpr std::array<std::string_view, 10> kClasses{"airplane", "automobile", "bird",  "cat",  "deer",
                                                             "dog",      "frog",       "horse", "ship", "truck"};

  /// Reads data_batch_1.bin to data_batch_5.bin, or test_batch.bin, of "CIFAR-10 binary version" from `folder`, plain
  /// or gzip. Throws IOError that says what to do if a file is missing, FormatError if one is not what it should be,
  /// ValueError for impossible preprocessing.
  CIFAR10(const std::string& folder, Split split, const Preprocessing& preprocessing = {.channels = 3});
};

}  // namespace thimble::data
