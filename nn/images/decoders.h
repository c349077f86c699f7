// What reads the two formats. Internal.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace thimble::data {

/// Rows of pixels, whose channels lie side by side.
struct DecodedImage {
  int64_t height = 0, width = 0;
  int64_t channels = 0;  // 1 or 3
  std::vector<uint8_t> bytes = {};
};

struct ImageSize {
  int64_t height, width;
};

inline constexpr int64_t kMostImageSide = 65535;

/// Throw FormatError, whose message begins with `name`.
void check_image_size(const std::string& name, const ImageSize& size, int64_t max_pixels);
ImageSize png_size(std::span<const uint8_t> file, const std::string& name);
ImageSize jpeg_size(std::span<const uint8_t> file, const std::string& name);
DecodedImage decode_png(std::span<const uint8_t> file, const std::string& name, int64_t max_pixels);
DecodedImage decode_jpeg(std::span<const uint8_t> file, const std::string& name, int64_t max_pixels);

/// What read_image() would give, from the file's header alone. Throws as that.
ImageSize read_image_size(const std::filesystem::path& path, int64_t max_pixels);

}  // namespace thimble::data
