#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include <sys/mman.h>

#include <thimble/core/error.h>
#include <thimble/core/memory.h>
#include <thimble/core/platform/huge_pages.h>
#include <thimble/core/platform/mapped_file.h>
#include <thimble/core/unread_bytes.h>

namespace thimble {

namespace {

using detail::kHugePage;

// Address space alone: what is never touched never takes memory.
void* map_memory(size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return memory;
}

// The allocator's cache would keep as much as the largest weights take, and so would malloc().
std::shared_ptr<void> passing_memory(size_t bytes) {
  if (bytes < kHugePage) return allocate(bytes);
  const size_t mapped = bytes + kHugePage;
  void* memory = map_memory(mapped);
  void* aligned = memory;
  size_t left = mapped;
  std::align(kHugePage, bytes, aligned, left);
  detail::prefer_huge_pages(aligned, bytes);
  return {aligned, [memory, mapped](void*) { ::munmap(memory, mapped); }};
}

}  // namespace

UnreadBytes::UnreadBytes(std::shared_ptr<const MappedFile> file, size_t offset, size_t size)
    : file_(std::move(file)), offset_(offset), size_(size) {
  check<ShapeError>(offset <= file_->size() && size <= file_->size() - offset,
                    "array: it lies beyond the end of its file");
  if (size_ == 0) return;
  memory_ = map_memory(size_);
  detail::prefer_huge_pages(memory_, size_);
}

UnreadBytes::~UnreadBytes() {
  if (memory_) ::munmap(memory_, size_);
}

void UnreadBytes::read_in(std::atomic<UnreadBytes*>& unread) {
  const std::lock_guard lock(mutex_);
  if (!unread.load(std::memory_order_relaxed)) return;
  if (size_ > 0) std::memcpy(memory_, in_file(), size_);
  file_->forget(offset_, size_);
  unread.store(nullptr, std::memory_order_release);
}

std::shared_ptr<void> UnreadBytes::read_once(size_t first, size_t count, size_t alignment) const {
  if (count == 0) return {};
  const std::byte* bytes = in_file() + first;
  const auto forget = [file = file_, at = offset_ + first, count] { file->forget(at, count); };
  if (reinterpret_cast<uintptr_t>(bytes) % alignment == 0)
    return {const_cast<std::byte*>(bytes), [forget](void*) { forget(); }};
  std::shared_ptr<void> copy = passing_memory(count);
  std::memcpy(copy.get(), bytes, count);
  forget();
  return copy;
}

const std::byte* UnreadBytes::in_file() const { return file_->data() + offset_; }

}  // namespace thimble
