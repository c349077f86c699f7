// Shapes and lists of axes among an op's attributes. Internal.
#pragma once

#include <thimble/core/attributes.h>
#include <thimble/core/shape.h>

namespace thimble {

/// The attribute `key` as a Shape. Throws FormatError where Attributes::get does, and for a list that is too long:
/// attributes come from files.
inline Shape shape_attribute(const Attributes& attributes, const std::string& key) {
  const auto sizes = attributes.get<std::vector<int64_t>>(key);
  check<FormatError>(sizes.size() <= Shape::kMaxDims, "attribute '", key, "' has ", sizes.size(),
                     " entries, expected at most ", Shape::kMaxDims);
  return sizes;
}

}  // namespace thimble
