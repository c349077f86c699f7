// PNG files for tests, of every kind that there is.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <zlib.h>

#include "tests/deflate.h"

namespace thimble::data {

enum PngColour : int { kGrey = 0, kRgb = 2, kPalette = 3, kGreyAlpha = 4, kRgbAlpha = 6 };

/// What a PNG file says of its picture. `samples` are row by row, those of a pixel side by side.
struct Png {
  uint32_t height, width;
  int depth = 8;
  PngColour colour = kRgb;
  std::vector<uint32_t> samples = {};
  bool interlaced = false;
  std::string palette = {};  // bytes of red, green, blue
  std::string transparency = {};
};

inline std::string png_number(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

inline std::string png_chunk(const std::string& name, const std::string& data) {
  const std::string named = name + data;
  const auto sum = crc32(0, reinterpret_cast<const Bytef*>(named.data()), static_cast<uInt>(named.size()));
  return png_number(static_cast<uint32_t>(data.size())) + named + png_number(static_cast<uint32_t>(sum));
}

/// The rows of pixels that lie at `first` + k * `step`, packed, each with filter 0 in front.
inline std::string png_rows(const Png& png, std::array<uint32_t, 2> first, std::array<uint32_t, 2> step) {
  const size_t channels = png.colour == kRgb ? 3 : png.colour == kGreyAlpha ? 2 : png.colour == kRgbAlpha ? 4 : 1;
  std::string rows;
  if (first[1] >= png.width) return rows;
  for (uint32_t y = first[0]; y < png.height; y += step[0]) {
    std::string bits;
    for (uint32_t x = first[1]; x < png.width; x += step[1])
      for (size_t c = 0; c < channels; ++c)
        for (int bit = png.depth - 1; bit >= 0; --bit)
          bits += static_cast<char>(png.samples.at((size_t{y} * png.width + x) * channels + c) >> bit & 1);
    bits.resize((bits.size() + 7) / 8 * 8);
    rows += '\0';
    for (size_t i = 0; i < bits.size(); i += 8) {
      int byte = 0;
      for (size_t b = 0; b < 8; ++b) byte = byte * 2 + bits[i + b];
      rows += static_cast<char>(byte);
    }
  }
  return rows;
}

inline std::string png_bytes(const Png& png) {
  std::string header = png_number(png.width) + png_number(png.height);
  for (const int field : {png.depth, static_cast<int>(png.colour), 0, 0, png.interlaced ? 1 : 0})
    header += static_cast<char>(field);
  std::string rows;
  if (png.interlaced) {
    constexpr uint32_t kPasses[7][4] = {{0, 0, 8, 8}, {0, 4, 8, 8}, {4, 0, 8, 4}, {0, 2, 4, 4},
                                        {2, 0, 4, 2}, {0, 1, 2, 2}, {1, 0, 2, 1}};
    for (const auto& [top, left, down, right] : kPasses) rows += png_rows(png, {top, left}, {down, right});
  } else {
    rows = png_rows(png, {0, 0}, {1, 1});
  }
  std::string file = "\x89PNG\r\n\x1a\n" + png_chunk("IHDR", header);
  if (!png.palette.empty()) file += png_chunk("PLTE", png.palette);
  if (!png.transparency.empty()) file += png_chunk("tRNS", png.transparency);
  return file + png_chunk("IDAT", deflated(rows, MAX_WBITS)) + png_chunk("IEND", "");
}

/// Of 8 bits, one colour.
inline std::string plain_png(uint32_t height, uint32_t width, std::array<uint8_t, 3> colour) {
  Png png{.height = height, .width = width};
  for (uint32_t i = 0; i < height * width; ++i) png.samples.insert(png.samples.end(), colour.begin(), colour.end());
  return png_bytes(png);
}

}  // namespace thimble::data
