#include <algorithm>

#include <thimble/core/error.h>
#include <thimble/core/text.h>
#include <thimble/serialization/onnx/data_files.h>

namespace thimble::onnx {

namespace {

namespace fs = std::filesystem;

// No absolute path, no "..", no link that leads elsewhere.
bool lies_within(const fs::path& folder, const fs::path& relative) {
  if (relative.empty() || !relative.is_relative()) return false;
  if (std::ranges::find(relative, fs::path("..")) != relative.end()) return false;
  std::error_code no_folder, no_file;
  const fs::path inside = fs::canonical(folder, no_folder), real = fs::weakly_canonical(folder / relative, no_file);
  return !no_folder && !no_file && std::ranges::mismatch(inside, real).in1 == inside.end();
}

}  // namespace

std::shared_ptr<const MappedFile> DataFiles::open(const std::string& location) const {
  if (const auto it = files_->find(location); it != files_->end()) return it->second;
  const fs::path folder = folder_.empty() ? "." : folder_;
  check<FormatError>(lies_within(folder, location), "external data: ", detail::quote(location),
                     " is not a file in the model's folder");
  return (*files_)[location] = std::make_shared<const MappedFile>(folder / location);
}

void DataFiles::forget() const {
  for (const auto& [location, file] : *files_) file->forget(0, file->size());
}

}  // namespace thimble::onnx
