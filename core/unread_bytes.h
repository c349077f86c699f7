// A part of a mapped file that becomes an array's memory when somebody asks for it. Internal: see NDArray::unread().
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>

namespace thimble {

class MappedFile;

/// May be used from several threads.
class UnreadBytes {
 public:
  /// Throws ShapeError if they lie beyond the file's end, std::bad_alloc.
  UnreadBytes(std::shared_ptr<const MappedFile> file, size_t offset, size_t size);
  ~UnreadBytes();
  UnreadBytes(const UnreadBytes&) = delete;
  UnreadBytes& operator=(const UnreadBytes&) = delete;

  size_t size() const { return size_; }
  /// Where they will lie: set aside, and not used before read_in().
  void* memory() const { return memory_; }
  /// Copies them there, unless another thread has; `unread`, which says that it is to be done, becomes null then.
  void read_in(std::atomic<UnreadBytes*>& unread);

  /// `count` of the bytes, from number `first` on, for one who reads them once and writes nothing, at an address that
  /// is a multiple of `alignment`: in the file's mapping if they lie so, else a copy. When they are let go of they take
  /// no memory any more.
  std::shared_ptr<void> read_once(size_t first, size_t count, size_t alignment) const;

 private:
  const std::byte* in_file() const;

  std::shared_ptr<const MappedFile> file_;
  size_t offset_, size_;
  void* memory_ = nullptr;
  std::mutex mutex_;
};

}  // namespace thimble
