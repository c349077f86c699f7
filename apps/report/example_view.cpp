#include "apps/report/example_view.h"

#include <span>
#include <vector>

#include <nlohmann/json.hpp>
#include <zlib.h>

#include <thimble/core/error.h>
#include <thimble/nn/data/image_dataset.h>
#include <thimble/nn/data/text.h>

namespace thimble::apps {

namespace {

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) group = group << 8 | (i + j < bytes.size() ? static_cast<uint8_t>(bytes[i + j]) : 0);
    for (size_t j = 0; j < 4; ++j) text += i + j > bytes.size() ? '=' : kDigits[group >> (18 - 6 * j) & 63];
  }
  return text;
}

std::string big_endian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 0xff);
  return bytes;
}

const Bytef* zlib_bytes_of(const std::string& text) { return reinterpret_cast<const Bytef*>(text.data()); }

// Length, type, content, checksum of both.
std::string png_chunk(const std::string& type, const std::string& content) {
  const std::string checked = type + content;
  const auto sum = static_cast<uint32_t>(crc32(0, zlib_bytes_of(checked), static_cast<uInt>(checked.size())));
  return big_endian(static_cast<uint32_t>(content.size())) + checked + big_endian(sum);
}

std::string deflated(const std::string& bytes) {
  uLongf size = compressBound(static_cast<uLong>(bytes.size()));
  std::string out(size, '\0');
  const int status =
      compress2(reinterpret_cast<Bytef*>(out.data()), &size, zlib_bytes_of(bytes), static_cast<uLong>(bytes.size()), 9);
  check(status == Z_OK, "report: cannot compress a picture");
  out.resize(size);
  return out;
}

std::string words_of(const data::TextDataset& texts, int64_t index) {
  const NDArray tokens = texts.batch(std::span(&index, 1)).fields()[0].second.data();
  const std::vector<std::string>& words = texts.vocabulary().words();
  std::string text;
  for (const int64_t token : tokens.to_vector<int64_t>()) {
    if (token == data::Vocabulary::kPadding) continue;
    text += text.empty() ? "" : " ";
    text += token < data::Vocabulary::kFirst ? "\u25a1" : words[static_cast<size_t>(token - data::Vocabulary::kFirst)];
  }
  return text;
}

}  // namespace

std::string png_address(const NDArray& pixels) {
  const int ndim = pixels.ndim();
  const int64_t channels = ndim == 3 ? pixels.shape(0) : 1;
  check<ShapeError>((ndim == 2 || ndim == 3) && (channels == 1 || channels == 3), "report: pixels are ", pixels.shape(),
                    ", expected [height, width] or [1 or 3, height, width]");
  const int64_t height = pixels.shape(ndim - 2), width = pixels.shape(ndim - 1);
  const NDArray planes = pixels.contiguous();
  std::string lines;
  for (int64_t y = 0; y < height; ++y) {
    lines += '\0';  // the line is not filtered
    for (int64_t x = 0; x < width; ++x)
      for (int64_t c = 0; c < channels; ++c)
        lines += static_cast<char>(planes.data<uint8_t>()[(c * height + y) * width + x]);
  }
  const std::string depth_and_colour{8, static_cast<char>(channels == 3 ? 2 : 0), 0, 0, 0};
  const std::string size = big_endian(static_cast<uint32_t>(width)) + big_endian(static_cast<uint32_t>(height));
  return "data:image/png;base64," + base64("\x89PNG\r\n\x1a\n" + png_chunk("IHDR", size + depth_and_colour) +
                                           png_chunk("IDAT", deflated(lines)) + png_chunk("IEND", ""));
}

nlohmann::json example_view(const data::Dataset& dataset, int64_t index) {
  if (const auto* images = dynamic_cast<const data::ImageDataset*>(&dataset))
    return {{"image", png_address(images->pixels().slice(0, index, index + 1).squeeze(0))}};
  if (const auto* texts = dynamic_cast<const data::TextDataset*>(&dataset)) return {{"text", words_of(*texts, index)}};
  return nlohmann::json::object();
}

}  // namespace thimble::apps
