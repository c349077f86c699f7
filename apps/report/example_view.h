// What people see of an example: its picture, or its words.
#pragma once

#include <cstdint>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include <thimble/core/ndarray.h>
#include <thimble/nn/data/dataset.h>

namespace thimble::apps {

/// {image} of an ImageDataset, a PNG as the address that an <img> takes; {text} of a TextDataset, with a square for
/// each word that the model does not know; or {}.
nlohmann::json example_view(const data::Dataset& dataset, int64_t index);

/// "data:image/png;base64,..." of pixels uint8 [height, width] of grey, [1, height, width] or [3, height, width].
/// Throws ShapeError for others.
std::string png_address(const NDArray& pixels);

}  // namespace thimble::apps
