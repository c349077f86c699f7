// What the fuzz targets share: an input as a file, and what reading it may end in.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include <thimble/core/error.h>
#include <thimble/core/ndarray.h>
#include <thimble/core/text.h>

// Declared here because the tool's library has no header.
extern "C" {
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);
}

namespace thimble::fuzz {

/// A file in memory that holds one input after the other.
class MemoryFile {
 public:
  MemoryFile();
  const std::filesystem::path& holding(std::string_view bytes);

 private:
  int fd_;
  std::filesystem::path path_;
};

/// A folder for files that are renamed, which a file in memory cannot be. In memory where the system has such a folder.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::filesystem::path operator/(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// Ends the program as a crash does, so that the input is kept.
[[noreturn]] void report(std::string_view finding);

/// Reads a file: what comes out, or an Error with a message of one line that a terminal can be shown. All else that
/// read() may throw is a finding.
template <typename Read>
void survive(Read&& read) {
  try {
    read();
  } catch (const Error& error) {
    const std::string_view message = error.what();
    constexpr size_t kLongest = 2000;
    if (message.empty() || message.size() > kLongest || detail::printable(message) != message)
      report("the message of the error is not one short line: " + detail::printable(message));
  }
}

/// The same for the bytes as a file: load(path).
template <typename Load>
void survive_file(const uint8_t* data, size_t size, Load&& load) {
  static MemoryFile file;
  const auto& path = file.holding({reinterpret_cast<const char*>(data), size});
  survive([&] { load(path); });
}

/// Reads each byte of an array.
void touch(const NDArray& array);

/// Replaces `text` by what the fuzzer's general mutations make of it, at most max_size bytes.
void mutate_bytes(std::string& text, size_t max_size);

}  // namespace thimble::fuzz
