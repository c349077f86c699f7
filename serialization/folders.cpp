#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thimble/core/platform/file_descriptor.h>
#include <thimble/core/platform/io_error.h>
#include <thimble/serialization/folders.h>

namespace thimble::detail {

namespace fs = std::filesystem;

namespace {

constexpr mode_t kAll = 0777;  // which umask restricts

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

// "states/" is an entry of ".", as "states" is.
fs::path without_slash(const fs::path& path) { return path.has_filename() ? path : path.parent_path(); }

}  // namespace

int sync_folder(const fs::path& folder) {
  const FileDescriptor fd(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.is_open()) return 0;  // a folder that may be written to but not read
  return ::fsync(fd.get()) == 0 || errno == EINVAL ? 0 : errno;
}

void make_folders(const fs::path& path) {
  const fs::path folder = without_slash(path), parent = folder.parent_path();
  if (is_folder(folder)) return;
  if (!parent.empty()) make_folders(parent);
  if (::mkdir(folder.c_str(), kAll) != 0) {
    const int error = errno;
    if (is_folder(folder)) return;  // another program has made it meanwhile
    throw_io_error("make the folder", folder, error);
  }
  if (const int error = sync_folder(parent)) throw_io_error("flush the folder of", folder, error);
}

}  // namespace thimble::detail
