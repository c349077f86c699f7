#include <cerrno>
#include <system_error>

#include <thimble/core/error.h>
#include <thimble/core/platform/io_error.h>
#include <thimble/core/text.h>

namespace thimble::detail {

namespace {

const char* advice(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG:
      return "; check the path";
    case EEXIST:
      return "; remove what is there, or choose another name";
    case EACCES:
    case EPERM:
      return "; check the permissions of the file and of its folder";
    case EISDIR:
      return "; name a file, not a folder";
    case ENOSPC:
    case EDQUOT:
      return "; free some space or choose another folder";
    case EROFS:
      return "; choose another folder";
    case EFBIG:
      return "; raise the limit on file sizes (ulimit -f)";
    case ENOMEM:
      return "; free some memory";
    case EMFILE:
    case ENFILE:
      return "; close some files or raise their limit (ulimit -n)";
    default:
      return "";
  }
}

}  // namespace

void throw_io_error(std::string_view verb, const std::filesystem::path& path, int error) {
  throw IOError(
      str("cannot ", verb, ' ', quote_path(path), ": ", std::generic_category().message(error), advice(error)));
}

}  // namespace thimble::detail
