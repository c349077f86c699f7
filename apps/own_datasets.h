// Datasets that have no name of their own: NumPy arrays, folders of pictures.
#pragma once

#include "apps/datasets.h"

namespace thimble::apps {

/// What a dataset's pictures are counted by, and what makes them the same: of ImageDataset. At least so many classes.
NamedDataset named_images(const std::shared_ptr<const data::Dataset>& images, int64_t classes);

/// Throws ValueError for one of texts.
void check_takes_no_texts(const Preparation& preparation);

/// See load_labelled_arrays(): bytes are pixels, scaled to [0, 1]; other numbers are taken as they are, as float32.
/// Throws FormatError for numbers that are not finite, and for arrays that are not what preparation.arrays says.
NamedDataset open_arrays(const std::string& path, data::Split split, const Preparation& preparation);
/// How open_arrays() has to be told to prepare the arrays of this file: as many channels as there are.
int64_t channels_of_arrays(const std::string& path);

/// Folders train/ and test/ with a folder of PNG and JPEG files for each class, all made preparation.image_size large.
/// If it names classes, they are numbered in that order.
NamedDataset open_folder(const std::string& folder, data::Split split, const Preparation& preparation);

}  // namespace thimble::apps
