// The user's NumPy arrays as a model's inputs.
#pragma once

#include <string>
#include <vector>

#include "apps/loaded_model.h"
#include <thimble/core/tensor.h>

namespace thimble::apps {

/// The arrays of files "NAME=FILE.npy", in the order of the model's inputs; with one input its name may be left out.
/// Numbers are converted to the input's dtype, but for floats to integers. Throws ValueError for an input without a
/// file, of none, or with two; ShapeError, DTypeError for arrays that do not fit; and what load_npy() throws.
std::vector<Tensor> input_arrays(const LoadedModel& model, const std::vector<std::string>& files);

/// The names of the files alone.
std::vector<std::string> array_files(const LoadedModel& model, const std::vector<std::string>& files);

/// Samples from the user's file, at most so many, in batches: an .npy file, or an .npz file that holds an array under
/// the name of the input. The model must have one input. Throws as input_arrays().
std::vector<Tensor> sample_batches(const LoadedModel& model, const std::string& file, int64_t samples);

}  // namespace thimble::apps
