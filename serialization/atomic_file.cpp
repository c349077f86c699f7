#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thimble/core/error.h>
#include <thimble/core/platform/io_error.h>
#include <thimble/core/text.h>
#include <thimble/serialization/atomic_file.h>
#include <thimble/serialization/folders.h>

namespace thimble {

namespace {

namespace fs = std::filesystem;

// Unlike std::filesystem::canonical, also where the last link points to a file that does not exist yet.
fs::path follow_links(fs::path path) {
  constexpr int kMostLinks = 40;  // as Linux
  for (int i = 0; i < kMostLinks; ++i) {
    std::error_code not_a_link;
    const fs::path next = fs::read_symlink(path, not_a_link);
    if (not_a_link) break;
    path = path.parent_path() / next;
  }
  return path;
}

}  // namespace

AtomicFile::AtomicFile(const fs::path& target, std::string_view prefix) : path_(target) {
  struct stat existing {};
  const bool exists = ::stat(path_.c_str(), &existing) == 0;
  if (!exists && (errno != ENOENT || path_.empty())) fail(errno);
  if (exists && !S_ISREG(existing.st_mode)) {
    fd_ = detail::FileDescriptor(::open(path_.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd_.is_open()) fail(errno);
    return;
  }
  // A rename needs no permission of the file it replaces; a file that is protected from writing shall be safe from us.
  if (exists && ::faccessat(AT_FDCWD, path_.c_str(), W_OK, AT_EACCESS) != 0) fail(errno);
  target_ = follow_links(path_);
  const unsigned mode = exists ? existing.st_mode & 0777u : 0666u;
  create_temporary(prefix, mode);
  // What umask took away from the existing permissions. Some file systems have none; then there is nothing to keep.
  if (exists) ::fchmod(fd_.get(), mode);
}

AtomicFile::~AtomicFile() { discard(); }

void AtomicFile::create_temporary(std::string_view prefix, unsigned mode) {
  static std::atomic<unsigned> counter = 0;
  constexpr int kAttempts = 10000;  // names may be taken by what crashed processes of the same id have left
  for (int i = 0; i < kAttempts; ++i) {
    fs::path name = target_.parent_path() / str(prefix, ::getpid(), '-', counter++, ".tmp");
    fd_ = detail::FileDescriptor(::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
    if (fd_.is_open()) {
      temporary_ = std::move(name);
      return;
    }
    if (errno != EEXIST) break;
  }
  fail(errno);
}

void AtomicFile::write(const void* data, size_t size) {
  check_open();
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    constexpr size_t kMostAtOnce = size_t{1} << 30;  // Linux writes at most 2 GiB in one call
    const ssize_t written = ::write(fd_.get(), next, std::min(size, kMostAtOnce));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail(written < 0 ? errno : EIO);
    next += written;
    size -= static_cast<size_t>(written);
  }
}

void AtomicFile::commit() {
  check_open();
  const bool direct = temporary_.empty();
  if (!direct && ::fsync(fd_.get()) != 0) fail(errno);
  if (!fd_.close()) fail(errno);
  if (direct) return;
  const fs::path folder = target_.parent_path();  // before the rename: nothing that takes memory may fail behind it
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail(errno);
  temporary_.clear();
  // The rename is only safe from a power failure once the folder is on disk too.
  if (const int error = detail::sync_folder(folder)) detail::throw_io_error("flush the folder of", path_, error);
}

void AtomicFile::check_open() const {
  if (fd_.is_open()) return;
  throw IOError(
      str("cannot write ", detail::quote_path(path_), ": it is already committed, or an earlier write failed"));
}

void AtomicFile::fail(int error) {
  discard();
  detail::throw_io_error("write", path_, error);
}

void AtomicFile::discard() noexcept {
  fd_.close();
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  temporary_.clear();
}

}  // namespace thimble
