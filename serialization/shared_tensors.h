// Tensors that have their elements in common, in a file: it holds them once. Internal to serialization.
//
// The metadata "shared_tensors" is JSON: {"b.weight": "a.weight"} says that b.weight has the elements of the tensor
// a.weight, which the file has. They are no parameter in common: who trains one leaves the other as it was.
#pragma once

#include <map>
#include <string>

#include <thimble/core/ndarray.h>
#include <thimble/serialization/safetensors.h>

namespace thimble::detail {

/// Leaves in `arrays` the first of those that are the same memory, and notes in the metadata which others there were.
void write_shared_tensors_once(std::map<std::string, std::string>& metadata, NamedArrays& arrays);

/// Moves out the file's tensors, and adds those that share their elements, lazy clones of them. Throws FormatError for
/// metadata that says anything else.
NamedArrays take_tensors(TensorFile& file);

}  // namespace thimble::detail
