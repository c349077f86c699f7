// Damaged files: reading one ends in a value or in an error that says what is wrong, never in a crash.
#pragma once

#include <functional>
#include <random>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/serialization/files.h"
#include <thimble/core/error.h>

namespace thimble {

/// The message of the FormatError that reading these bytes must end in: one short line that begins with the path,
/// which is left out.
inline std::string format_error_of(const std::string& bytes,
                                   const std::function<void(const std::filesystem::path&)>& read) {
  TempFolder folder;
  const std::filesystem::path path = folder / "f";
  write_bytes(path, bytes);
  const std::string message = message_of<FormatError>([&] { read(path); }), prefix = "'" + path.native() + "': ";
  EXPECT_THAT(message, testing::StartsWith(prefix));
  EXPECT_EQ(message.find_first_of("\n\r\x1b"), std::string::npos) << message;
  EXPECT_LT(message.size(), prefix.size() + 400);
  return message.substr(std::min(message.size(), prefix.size()));
}

/// Expects a FormatError for every beginning of `good`.
inline void expect_prefixes_refused(const std::string& good,
                                    const std::function<void(const std::filesystem::path&)>& read) {
  for (size_t length = 0; length < good.size(); ++length) {
    SCOPED_TRACE(length);
    format_error_of(good.substr(0, length), read);
  }
}

/// Reads `good` with single bits flipped, so many times.
inline void expect_flips_survived(const std::string& good,
                                  const std::function<void(const std::filesystem::path&)>& read, int times = 10000) {
  TempFolder folder;
  const std::filesystem::path path = folder / "f";
  std::mt19937 random(1);
  int refused = 0;
  for (int i = 0; i < times; ++i) {
    std::string bad = good;
    const size_t bit = random() % (8 * bad.size());
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ 1 << bit % 8);
    write_bytes(path, bad);
    try {
      read(path);
    } catch (const FormatError& error) {
      ++refused;
      EXPECT_THAT(error.what(), testing::StartsWith("'" + path.native() + "': ")) << "bit " << bit;
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    } catch (const IOError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 0);
}

}  // namespace thimble
