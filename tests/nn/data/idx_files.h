// Writing IDX files and other bytes into a temporary folder.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/deflate.h"

namespace thimble::data {

/// A folder of its own for each test, removed afterwards.
class TemporaryFolder : public testing::Test {
 protected:
  TemporaryFolder() {
    const testing::TestInfo& test = *testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() /
              (std::string(test.test_suite_name()) + '.' + test.name() + '.' + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
  }
  ~TemporaryFolder() override { std::filesystem::remove_all(folder_); }

  std::string folder() const { return folder_.string(); }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  /// Writes a file and returns its path.
  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name);
  }

 private:
  std::filesystem::path folder_;
};

inline std::string big_endian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

inline std::string idx_header(int type, const std::vector<uint32_t>& dims) {
  std::string bytes{0, 0, static_cast<char>(type), static_cast<char>(dims.size())};
  for (uint32_t d : dims) bytes += big_endian(d);
  return bytes;
}

inline std::string gzip(const std::string& bytes) { return deflated(bytes, 16 + MAX_WBITS); }

}  // namespace thimble::data
