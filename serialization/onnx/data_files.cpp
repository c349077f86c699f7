#include <algorithm>

#include <thimble/core/error.h>
#include <thimble/core/text.h>
#include <thimble/serialization/onnx/data_files.h>

namespace thimble::onnx {

namespace {

namespace fs = std::filesystem;

// No absolute path, no "..", no link that leads elsewhere. Empty if it is one of these; links are followed.
fs::path path_within(const fs::path& folder, const fs::path& relative) {
  if (relative.empty() || !relative.is_relative()) return {};
  if (std::ranges::find(relative, fs::path("..")) != relative.end()) return {};
  std::error_code no_folder, no_file;
  const fs::path inside = fs::canonical(folder, no_folder), real = fs::weakly_canonical(folder / relative, no_file);
  const bool is_within = !no_folder && !no_file && std::ranges::mismatch(inside, real).in1 == inside.end();
  return is_within ? real : fs::path();
}

}  // namespace

std::shared_ptr<const MappedFile> DataFiles::open(const std::string& location) const {
  if (const auto it = files_->by_location.find(location); it != files_->by_location.end()) return it->second;
  const fs::path path = path_within(folder_.empty() ? "." : folder_, location);
  check<FormatError>(!path.empty(), "external data: ", detail::quote(location), " is not a file in the model's folder");
  std::shared_ptr<const MappedFile>& file = files_->by_path[path];
  if (!file) file = std::make_shared<const MappedFile>(path, mapped_, MappedFile::Access::read_only);
  return files_->by_location[location] = file;
}

void DataFiles::forget() const {
  for (const auto& [location, file] : files_->by_location) file->forget(0, file->size());
}

}  // namespace thimble::onnx
