// The datasets the program knows by name.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <thimble/core/ops/pair.h>
#include <thimble/nn/data/dataset.h>
#include <thimble/nn/data/preprocessing.h>
#include <thimble/nn/data/split.h>
#include <thimble/nn/data/text.h>

namespace thimble::apps {

/// What arrays hold: bytes, which are scaled to [0, 1], or numbers that are taken as they are.
inline constexpr const char *kPixels = "pixels", *kNumbers = "numbers";

/// How examples become a model's input: what a checkpoint's notes keep of it.
struct Preparation {
  data::Preprocessing images = {};
  std::shared_ptr<const data::Vocabulary> vocabulary = {};  ///< of texts; none for images
  std::optional<Pair> image_size = {};                      ///< which pictures of folders get; none: they have one size
  std::vector<std::string> classes = {};                    ///< names of folders, in the order of their numbers
  std::string arrays = {};                                  ///< kPixels or kNumbers; empty: either

  friend bool operator==(const Preparation& a, const Preparation& b) {
    if (!a.vocabulary || !b.vocabulary)
      return a.vocabulary == b.vocabulary && a.images == b.images && a.image_size == b.image_size &&
             a.classes == b.classes && a.arrays == b.arrays;
    return a.vocabulary->words() == b.vocabulary->words();
  }
};

/// A dataset that is open: examples of two fields, what a model takes and a class.
struct NamedDataset {
  std::shared_ptr<const data::Dataset> examples = {};
  Shape input_shape = {};  ///< of images, without the batch; texts have any length
  int64_t classes = 10;
  std::string checksum =
      {};  ///< what tells its files from others, however they are prepared: "200 images, checksum 12345"
  std::vector<std::string> class_names = {};  ///< of folders
  std::string arrays = {};                    ///< what those of npz hold, kPixels or kNumbers
};

/// "mnist", "fashion-mnist", "cifar10", "sst2", "idx", "npz", "folder".
const std::vector<std::string>& dataset_names();

/// Throws ValueError for a name that is none of these.
void check_dataset_name(const std::string& name);

/// "images", "texts", or "examples" for those that may be anything.
std::string examples_of(const std::string& dataset);

/// The `most` most frequent words of a dataset's training texts; null for one of images. Throws as open_dataset().
std::shared_ptr<const data::Vocabulary> vocabulary_of(const std::string& dataset, const std::string& folder,
                                                      int64_t most);

/// How many channels a dataset's pictures have. Throws ValueError for an unknown name, and what open_dataset() throws.
int64_t channels_of(const std::string& dataset, const std::string& folder);

/// Opens a dataset; an empty folder means the dataset's usual one. Throws ValueError for an unknown name, texts
/// without a vocabulary, or no folder where there is no usual one, and what the dataset's constructor throws.
NamedDataset open_dataset(const std::string& name, const std::string& folder, data::Split split,
                          const Preparation& preparation);

/// A dataset of pictures that is open, prepared otherwise. Throws ValueError for others.
NamedDataset prepared(const NamedDataset& pictures, const Preparation& preparation);

/// What tells a dataset from others, "200 images [1, 12, 12], checksum 12345": all of its images and labels are read.
std::string fingerprint(const data::Dataset& dataset);

}  // namespace thimble::apps
