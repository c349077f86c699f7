#include <cerrno>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <thimble/core/text.h>
#include <thimble/serialization/file_descriptor.h>
#include <thimble/serialization/io_error.h>
#include <thimble/serialization/mapped_file.h>

namespace thimble {

MappedFile::MappedFile(const std::filesystem::path& path) {
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
  void* memory = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd.get(), 0);
  if (memory == MAP_FAILED) detail::throw_io_error("read", path, errno);
  data_ = static_cast<std::byte*>(memory);
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(data_, size_);
}

}  // namespace thimble
