// What the metadata of Thimble's own safetensors files says of their format. Internal to
// serialization and the program.
#pragma once

#include <map>
#include <string>

#include <thimble/serialization/safetensors.h>

namespace thimble::detail {

/// The "format" of models and of training states.
inline constexpr const char *kModelFormat = "thimble", *kTrainingStateFormat = "thimble-training-state";

/// The metadata `key`. Throws FormatError, saying that the file is no `kind`, if there is none.
const std::string& metadata_of(const TensorFile& file, const std::string& key, const char* kind);

/// Throws VersionError if "format_version" is another than 1.x.
void check_version(const std::map<std::string, std::string>& metadata);

/// Throws FormatError unless "format" is this one and VersionError unless "format_version" is 1.x: a newer minor
/// version loads as long as it uses nothing unknown; a newer major one does not.
void check_format(const TensorFile& file, const std::string& format, const char* kind);

}  // namespace thimble::detail
