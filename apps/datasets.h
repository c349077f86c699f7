// The datasets the program knows by name.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <thimble/nn/data/mnist.h>

namespace thimble::apps {

/// "mnist", "fashion-mnist".
const std::vector<std::string>& dataset_names();

/// Throws ValueError for a name that is none of these.
void check_dataset_name(const std::string& name);

/// Opens a dataset; an empty folder means the dataset's usual one. Throws ValueError for an unknown name, and what
/// data::MNIST throws.
std::unique_ptr<data::MNIST> open_dataset(const std::string& name, const std::string& folder, data::Split split,
                                          const data::Preprocessing& preprocessing);

/// What tells the files of a dataset from others, however images are prepared: "200 images, checksum 12345".
std::string checksum_text(const data::MNIST& dataset);

/// What tells a dataset from others, "200 images [1, 12, 12], checksum 12345": all of its images and labels are read.
std::string fingerprint(const data::Dataset& dataset);

}  // namespace thimble::apps
