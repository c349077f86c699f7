#include "tests/fuzz/fuzz.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include <sys/mman.h>
#include <unistd.h>

namespace thimble::fuzz {

MemoryFile::MemoryFile() : fd_(memfd_create("input", MFD_CLOEXEC)), path_("/proc/self/fd/" + std::to_string(fd_)) {
  if (fd_ < 0) report("no file in memory can be made");
}

const std::filesystem::path& MemoryFile::holding(std::string_view bytes) {
  const bool written = ftruncate(fd_, static_cast<off_t>(bytes.size())) == 0 &&
                       pwrite(fd_, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size());
  if (!written) report("the file in memory cannot be written");
  return path_;
}

Folder::Folder() {
  std::filesystem::path parent = "/dev/shm";
  if (access(parent.c_str(), W_OK) != 0) parent = std::filesystem::temp_directory_path();
  path_ = parent / ("thimble-fuzz-" + std::to_string(getpid()));
  std::filesystem::create_directory(path_);
}

Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void report(std::string_view finding) {
  std::cerr << "finding: " << finding << std::endl;
  std::abort();
}

void touch(const NDArray& array) {
  const auto* bytes = static_cast<const unsigned char*>(array.raw());
  unsigned sum = 0;
  for (int64_t i = 0; i < array.nbytes(); ++i) sum += bytes[i];
  [[maybe_unused]] volatile unsigned used = sum;
}

void mutate_bytes(std::string& text, size_t max_size) {
  const size_t size = std::min(text.size(), max_size);
  text.resize(max_size);
  text.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(text.data()), size, max_size));
}

}  // namespace thimble::fuzz
