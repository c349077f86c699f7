// The files that a model's tensors lie in. Internal.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include <thimble/core/platform/mapped_file.h>

namespace thimble::onnx {

/// Those of one folder, each mapped once. Copies share the mappings.
class DataFiles {
 public:
  /// The model's folder; empty for the current one. `mapped` is MappedFile's.
  DataFiles(std::filesystem::path folder, bool mapped = true) : folder_(std::move(folder)), mapped_(mapped) {}
  DataFiles(const char* folder) : folder_(folder) {}

  /// Takes a mapping that is there already for the folder's file of this name.
  void add(const std::string& name, std::shared_ptr<const MappedFile> file) {
    files_->by_location[name] = std::move(file);
  }
  /// Throws FormatError unless it is a path within the folder, links followed; IOError for what is no regular file or
  /// cannot be read.
  std::shared_ptr<const MappedFile> open(const std::string& location) const;
  /// Lets go of the files' memory: arrays that are unread read it again.
  void forget() const;

 private:
  using Files = std::map<std::filesystem::path, std::shared_ptr<const MappedFile>>;
  // Several locations may lead to the same path.
  struct Known {
    Files by_location, by_path;
  };

  std::filesystem::path folder_;
  bool mapped_ = true;
  std::shared_ptr<Known> files_ = std::make_shared<Known>();
};

}  // namespace thimble::onnx
