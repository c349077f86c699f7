// Pictures in folders, one for each class, as torchvision's ImageFolder. In the library thimble::images.
//
//   data::ImageFolder train("pets/train", {.size = Pair{64, 64}, .preprocessing = {.channels = 3}});
//   data::ImageFolder test("pets/test", {.size = Pair{64, 64}, .classes = train.classes()});
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/ops/pair.h>
#include <thimble/nn/data/image_dataset.h>

namespace thimble::data {

/// What ImageFolder is to do with its files.
struct THIMBLE_API ImageFolderOptions {
  std::optional<Pair> size = {};          ///< all become so large, see resize_image(); none: all must be of one size
  std::vector<std::string> classes = {};  ///< in the order of their numbers; none: those that are there, by their names
  Preprocessing preprocessing = {.channels = 3};  ///< `channels` 1: read as grey, else in colour, then as ImageDataset
  std::string remedy = {};                        ///< ends the error for pictures of different sizes
  /// Of a file; see ReadImageOptions. Each thread has a picture of its own while it reads.
  int64_t max_pixels = int64_t{1} << 26;
};

/// See ImageDataset. Each folder of `folder` is a class, whose number is its place in the order of names; all files in
/// it, and in folders below it, that end in .png, .jpg or .jpeg, in any case, are its pictures, in the order of their
/// paths. Others, what begins with a dot and links that lead nowhere are passed over. Pictures stay in memory, a byte
/// for each value.
class THIMBLE_API ImageFolder : public ImageDataset {
 public:
  /// Reads all files, with all threads. Throws what read_image() throws, IOError if there is no folder; FormatError for
  /// no classes, a class without pictures, one that options.classes does not name or whose name is not printable UTF-8,
  /// or pictures of different sizes without options.size; ValueError for options out of range.
  explicit ImageFolder(const std::string& folder, const ImageFolderOptions& options = {});

  /// Names of classes by their numbers.
  const std::vector<std::string>& classes() const { return classes_; }
  /// Of each picture.
  const std::vector<std::string>& paths() const { return paths_; }

 private:
  struct Files;
  static Files find(const std::string& folder, const ImageFolderOptions& options);
  ImageFolder(Files files, const ImageFolderOptions& options);

  std::vector<std::string> classes_, paths_;
};

}  // namespace thimble::data
