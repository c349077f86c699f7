// Arrays and classes from NumPy files: a dataset of your own.
//
//   LabelledArrays train = load_labelled_arrays("data/mine", data::Split::train);   // data/mine/train.npz: x, y
//   data::TensorDataset examples({{"x", train.inputs.to(DType::float32)}, {"y", train.labels}});
#pragma once

#include <filesystem>
#include <string>

#include <thimble/core/api.h>
#include <thimble/core/ndarray.h>
#include <thimble/nn/data/split.h>

namespace thimble {

/// What models take, and what they are to say.
struct THIMBLE_API LabelledArrays {
  NDArray inputs;         ///< [n, shape...], as the file has it: any dtype but bool
  NDArray labels;         ///< int64 [n], classes from 0 on
  std::string name = {};  ///< of the inputs, for errors: "'mine/train.npz': x"

  /// One more than the largest label.
  int64_t num_classes() const;
};

/// Of a folder, its train.npz or test.npz with the arrays "x" and "y"; of a file, as Keras has them, "x_train" and
/// "y_train" or "x_test" and "y_test". Labels are integers [n] or [n, 1]. Throws IOError if a file is not there, and
/// FormatError that names the file and the array for one that is missing, of another shape or dtype, empty, or has a
/// label that is negative or data::most_classes() or more, and what load_npz() throws.
THIMBLE_API LabelledArrays load_labelled_arrays(const std::filesystem::path& path, data::Split split);

/// Pictures as ImageDataset has them, [n, channels, height, width], of [n, height, width], of such, or of
/// [n, height, width, channels]. Where four dimensions could be either, channels come first: the second dimension is
/// theirs if it is 1 or 3, else the last if that is 1 or 3, else the second. Throws ShapeError for other numbers of
/// dimensions, and where a last dimension of 4 behind more than 4 columns looks like red, green, blue, transparency.
THIMBLE_API NDArray as_pictures(const NDArray& x);

}  // namespace thimble
