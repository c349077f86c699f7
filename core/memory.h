// Aligned memory from a cache keyed by size: a training step asks for the same sizes again and again.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <thimble/core/api.h>

namespace thimble {

/// Memory of at least `bytes` bytes, aligned to 64, its content undefined; given back to the cache with the last
/// reference. Throws std::bad_alloc. Safe to call from any thread.
THIMBLE_API std::shared_ptr<void> allocate(size_t bytes);

class UnreadBytes;

/// What those who share memory tell each other.
struct StorageMarks {
  std::atomic<uint64_t> changed_at{0};         // when it was last changed in place: a next_change(); 0: never
  std::atomic<bool> copy_on_write = false;     // see NDArray::lazy_clone()
  std::atomic<UnreadBytes*> unread = nullptr;  // where the content is, if it is not in the memory yet
};

/// Memory that arrays share.
struct THIMBLE_API Storage {
  /// As allocate() gives it.
  explicit Storage(size_t bytes);
  /// Somebody else's, who is kept alive.
  Storage(void* memory, std::shared_ptr<void> memory_owner) : data(memory), owner(std::move(memory_owner)) {}
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data;
  size_t size = 0;  // what the cache gets back; 0 if it is not the cache's
  std::shared_ptr<void> owner;
  StorageMarks marks;
};

/// Changes in place are numbered through, whichever memory they are about: a later one has a higher number. That of the
/// change that is made now, and that of the last one so far.
THIMBLE_API uint64_t next_change();
THIMBLE_API uint64_t last_change();

/// Bytes that are in use: allocated and not freed. The scratch memory that a thread keeps is not among them.
THIMBLE_API size_t allocated_bytes();

/// The most that allocated_bytes() has been since the start, or since reset_peak_allocated_bytes().
THIMBLE_API size_t peak_allocated_bytes();
THIMBLE_API void reset_peak_allocated_bytes();

/// Bytes that lie in the cache, unused.
THIMBLE_API size_t cached_bytes();

/// Gives all unused memory back to the system.
THIMBLE_API void empty_cache();

/// The most bytes that may lie in the cache unused. What is freed beyond them is given back to the system, what has
/// lain there longest first. At the start it is a quarter of the memory that the process may use (the machine's or its
/// container's).
THIMBLE_API size_t cache_limit();

/// Sets cache_limit() and gives back what is beyond it; 0 for no cache at all.
THIMBLE_API void set_cache_limit(size_t bytes);

}  // namespace thimble
