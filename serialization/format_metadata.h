// What the metadata of Thimble's own safetensors files says of their format. Internal to serialization.
#pragma once

#include <string>

#include <thimble/serialization/safetensors.h>

namespace thimble::detail {

/// The metadata `key`. Throws FormatError, saying that the file is no `kind`, if there is none.
const std::string& metadata_of(const TensorFile& file, const std::string& key, const char* kind);

/// Throws FormatError unless "format" is this one and "format_version" 1.x: a newer minor version loads as long as it
/// uses nothing unknown; a newer major one does not.
void check_format(const TensorFile& file, const std::string& format, const char* kind);

}  // namespace thimble::detail
