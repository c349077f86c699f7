// A whole file as memory, read from disk page by page when touched.
//
//   auto file = std::make_shared<MappedFile>("weights.bin");
//   NDArray w = NDArray::borrow(file->data(), {10, 20}, DType::float32, file);  // keeps the mapping alive
#pragma once

#include <cstddef>
#include <filesystem>

#include <thimble/core/api.h>

namespace thimble {

/// The content of a regular file. Unless access is read_only, the memory may be written to: pages that are written
/// become private copies, and the file never changes, so weights that borrow it can be trained in place. The file may
/// be replaced by another of its name (as AtomicFile does), but must not be shortened while it is mapped: touching a
/// page that is gone ends the program with SIGBUS. If it is read instead, what happens to the file later does not
/// matter.
class THIMBLE_API MappedFile {
 public:
  enum class Access { copy_on_write, read_only };

  /// `mapped` false: the file is read whole. Throws IOError that names the path and the reason if the file cannot be
  /// opened, mapped or read, is not a regular file, or is shortened while it is read.
  explicit MappedFile(const std::filesystem::path& path, bool mapped = true, Access access = Access::copy_on_write);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  /// Aligned to a page; null if the file is empty.
  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

  /// Lets go of memory that holds these bytes, and of some around if it is read only; whoever touches them reads them
  /// from the file again. Only for one who knows that nobody has written to these bytes, for that would be lost.
  void forget(size_t offset, size_t bytes) const noexcept;
  /// Whether forget() does anything.
  bool is_mapped() const { return is_mapped_; }

 private:
  void unmap() noexcept;
  void read_all(int fd, const std::filesystem::path& path);

  std::byte* data_ = nullptr;
  size_t size_ = 0;
  bool is_mapped_;
  Access access_;
};

}  // namespace thimble
