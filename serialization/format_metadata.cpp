#include <thimble/core/text.h>
#include <thimble/serialization/format_metadata.h>
#include <thimble/serialization/version_error.h>

namespace thimble::detail {

const std::string& metadata_of(const TensorFile& file, const std::string& key, const char* kind) {
  const auto it = file.metadata.find(key);
  check<FormatError>(it != file.metadata.end(), "its metadata has no '", key,
                     "': it is a safetensors file, but not a Thimble ", kind);
  return it->second;
}

void check_version(const std::map<std::string, std::string>& metadata) {
  const auto version = metadata.find("format_version");
  check<VersionError>(version == metadata.end() || version->second.starts_with("1."), "it has format version ",
                      version == metadata.end() ? "" : quote(version->second, 20),
                      ", this program reads 1.x; a later one is needed");
}

void check_format(const TensorFile& file, const std::string& expected, const char* kind) {
  const std::string& format = metadata_of(file, "format", kind);
  check<FormatError>(format == expected || format != kTrainingStateFormat,
                     "it is the state of a training run, which is resumed from it (--resume), not a ", kind);
  check<FormatError>(format == expected || format != kModelFormat, "it is a model, not a ", kind);
  check<FormatError>(format == expected, "its format is ", quote(format, 40), ", expected '", expected, "'");
  metadata_of(file, "format_version", kind);
  check_version(file.metadata);
}

}  // namespace thimble::detail
