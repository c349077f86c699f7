#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thimble/core/error.h>
#include <thimble/core/platform/file_descriptor.h>
#include <thimble/core/platform/io_error.h>
#include <thimble/core/platform/mapped_file.h>
#include <thimble/core/text.h>

#if __has_include(<sanitizer/asan_interface.h>)
#include <sanitizer/asan_interface.h>
#endif

namespace thimble {

namespace {

// What follows the file in its last page could be read without a fault: AddressSanitizer shall see it.
void mark_rest_of_page([[maybe_unused]] const std::byte* data, [[maybe_unused]] size_t size,
                       [[maybe_unused]] bool readable) {
#ifdef ASAN_POISON_MEMORY_REGION
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t rest = (page - size % page) % page;
  if (readable)
    ASAN_UNPOISON_MEMORY_REGION(data + size, rest);
  else
    ASAN_POISON_MEMORY_REGION(data + size, rest);
#endif
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path, bool mapped, Access access)
    : is_mapped_(mapped), access_(access) {
  // Without O_NONBLOCK, opening a named pipe would wait for a writer.
  const detail::FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (!fd.is_open() || ::fstat(fd.get(), &status) != 0) detail::throw_io_error("read", path, errno);
  if (S_ISDIR(status.st_mode)) detail::throw_io_error("read", path, EISDIR);
  check<IOError>(S_ISREG(status.st_mode), "cannot read ", detail::quote_path(path),
                 ": it is a device or a pipe and cannot be mapped; copy it to a file first");
  size_ = static_cast<size_t>(status.st_size);
  if (size_ == 0) return;
  // MAP_NORESERVE: few of the private pages are ever written, so no swap space need be set aside for all of them.
  const int protection = access == Access::read_only ? PROT_READ : PROT_READ | PROT_WRITE;
  void* memory = mapped ? ::mmap(nullptr, size_, protection, MAP_PRIVATE | MAP_NORESERVE, fd.get(), 0)
                        : ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) detail::throw_io_error("read", path, errno);
  data_ = static_cast<std::byte*>(memory);
  mark_rest_of_page(data_, size_, false);
  if (mapped) return;
  try {
    read_all(fd.get(), path);
  } catch (...) {
    unmap();
    throw;
  }
}

MappedFile::~MappedFile() { unmap(); }

void MappedFile::unmap() noexcept {
  if (!data_) return;
  mark_rest_of_page(data_, size_, true);
  ::munmap(data_, size_);
}

void MappedFile::forget(size_t offset, size_t bytes) const noexcept {
  if (!is_mapped_ || bytes == 0) return;
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  size_t first = offset, last = offset + bytes;
  if (access_ == Access::read_only) {
    constexpr size_t kAround = size_t{64} << 10;  // so much is mapped together with a page that is touched
    first = (first - std::min(first, kAround)) / page * page;
    last = std::min(last + kAround, size_);
  } else {  // whole pages alone: somebody may have written to what shares one
    first = (first + page - 1) / page * page;
    if (last < size_) last = last / page * page;
  }
  if (first < last) (void)::madvise(data_ + first, last - first, MADV_DONTNEED);
}

void MappedFile::read_all(int fd, const std::filesystem::path& path) {
  for (size_t done = 0; done < size_;) {
    const ssize_t n = ::read(fd, data_ + done, size_ - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) detail::throw_io_error("read", path, errno);
    check<IOError>(n > 0, "cannot read ", detail::quote_path(path), ": it was shortened meanwhile; try again");
    done += static_cast<size_t>(n);
  }
}

}  // namespace thimble
