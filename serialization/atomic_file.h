// Writing a file such that a crash, a full disk or a second writer leaves either the old file or the new one, whole.
//
//   AtomicFile file("model.safetensors");
//   file.write(bytes.data(), bytes.size());
//   file.commit();
#pragma once

#include <cstddef>
#include <filesystem>
#include <string_view>

#include <thimble/core/api.h>
#include <thimble/core/platform/file_descriptor.h>

namespace thimble {

/// Collects what is written in a temporary file (".thimble-*.tmp") in the target's folder, which commit() puts in the
/// target's place. A symbolic link is followed and stays; the permissions of an existing target are kept. A target that
/// cannot be replaced, a device or a pipe such as /dev/stdout, is written to directly.
///
/// All members throw IOError "cannot write 'path': reason", after which the target is what it was before and the
/// temporary file is gone; only where the rename went well but could not be flushed, "cannot flush the folder of
/// 'path'", the new file is in place. (A limit on file sizes, ulimit -f, is reported so only where SIGXFSZ is ignored:
/// by default that signal ends the program.)
class THIMBLE_API AtomicFile {
 public:
  /// What the names of temporary files begin with.
  static constexpr std::string_view kPrefix = ".thimble-";

  /// With a prefix of its own, a writer can tell its temporary files from all others that are in the folder.
  explicit AtomicFile(const std::filesystem::path& target, std::string_view prefix = kPrefix);
  /// Without commit(), removes the temporary file and leaves the target as it was.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends `size` bytes. Not buffered: few large writes are faster than many small ones.
  void write(const void* data, size_t size);

  /// Flushes to disk and renames. No more may be written afterwards.
  void commit();

 private:
  void create_temporary(std::string_view prefix, unsigned mode);
  void check_open() const;
  [[noreturn]] void fail(int error);
  void discard() noexcept;

  std::filesystem::path path_;       // as the caller named it, for messages
  std::filesystem::path target_;     // behind symbolic links
  std::filesystem::path temporary_;  // empty if the target is written to directly, and after commit()
  detail::FileDescriptor fd_;
};

}  // namespace thimble
