#include <algorithm>
#include <cmath>

#include <thimble/core/error.h>
#include <thimble/core/platform/mapped_file.h>
#include <thimble/core/text.h>
#include <thimble/nn/images/decoders.h>
#include <thimble/nn/images/read_image.h>

namespace thimble::data {

namespace {

bool begins_with(std::span<const uint8_t> file, std::initializer_list<uint8_t> bytes) {
  return file.size() >= bytes.size() && std::equal(bytes.begin(), bytes.end(), file.begin());
}

bool is_png(std::span<const uint8_t> file, const std::string& name) {
  if (begins_with(file, {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'})) return true;
  check<FormatError>(begins_with(file, {0xff, 0xd8, 0xff}), name, ": is neither PNG nor JPEG");
  return false;
}

DecodedImage decode(std::span<const uint8_t> file, const std::string& name, int64_t max_pixels) {
  return is_png(file, name) ? decode_png(file, name, max_pixels) : decode_jpeg(file, name, max_pixels);
}

std::span<const uint8_t> bytes_of(const MappedFile& file) {
  return {reinterpret_cast<const uint8_t*>(file.data()), file.size()};
}

// Pillow's: fixed point of 16 bits.
uint8_t grey_of(const uint8_t* rgb) {
  return static_cast<uint8_t>((rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16);
}

NDArray as_planes(const DecodedImage& image, int64_t channels) {
  NDArray planes({channels, image.height, image.width}, DType::uint8);
  const int64_t pixels = image.height * image.width;
  auto* to = planes.data<uint8_t>();
  const uint8_t* from = image.bytes.data();
  const bool to_grey = channels == 1 && image.channels == 3;
  for (int64_t c = 0; c < channels; ++c, to += pixels)
    for (int64_t p = 0; p < pixels; ++p) {
      const uint8_t* pixel = from + p * image.channels;
      to[p] = to_grey ? grey_of(pixel) : pixel[image.channels == 1 ? 0 : c];
    }
  return planes;
}

// What one pixel of a line in its new size is made of: pixels from `first` on, by weights that add up to 2^22.
struct Window {
  int64_t first;
  std::vector<int32_t> weights;
};

constexpr int kWeightBits = 22;

// Pillow's precompute_coeffs() for a triangle: wider than a pixel where pixels become fewer.
std::vector<Window> windows_of(int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to), wide = std::max(scale, 1.0);
  std::vector<Window> windows;
  for (int64_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<int64_t>(static_cast<int64_t>(center - wide + 0.5), 0);
    const auto last = std::min(static_cast<int64_t>(center + wide + 0.5), from);
    std::vector<double> parts;
    double sum = 0;
    for (int64_t x = first; x < last; ++x) {
      const double far = std::abs((static_cast<double>(x) - center + 0.5) * (1.0 / wide));
      sum += parts.emplace_back(far < 1 ? 1 - far : 0);
    }
    Window window{first, {}};
    for (const double part : parts)
      window.weights.push_back(static_cast<int32_t>(0.5 + part / sum * (int64_t{1} << kWeightBits)));
    windows.push_back(std::move(window));
  }
  return windows;
}

// Along the last dimension, or the one before it: `step` bytes lie between the pixels of a line, `inner` lines lie side
// by side, and `outer` such groups follow one another.
void resample(const uint8_t* x, uint8_t* y, const std::vector<Window>& windows, int64_t from, int64_t outer,
              int64_t inner) {
  for (int64_t o = 0; o < outer; ++o, x += from * inner)
    for (const auto& [first, weights] : windows)
      for (int64_t line = 0; line < inner; ++line) {
        int64_t sum = int64_t{1} << (kWeightBits - 1);
        const uint8_t* at = x + first * inner + line;
        for (const int32_t weight : weights) sum += int64_t{weight} * *at, at += inner;
        *y++ = static_cast<uint8_t>(std::clamp<int64_t>(sum >> kWeightBits, 0, 255));
      }
}

}  // namespace

void check_image_size(const std::string& name, const ImageSize& size, int64_t max_pixels) {
  const auto [height, width] = size;
  check<FormatError>(height > 0 && width > 0, name, ": is a picture of ", height, " x ", width, " pixels, of none");
  check<FormatError>(height <= kMostImageSide && width <= kMostImageSide, name, ": is a picture of ", height, " x ",
                     width, " pixels, and no side may have more than ", kMostImageSide);
  check<FormatError>(height * width <= max_pixels, name, ": is a picture of ", height, " x ", width,
                     " pixels, more than the ", max_pixels, " that are read");
}

ImageSize read_image_size(const std::filesystem::path& path, int64_t max_pixels) {
  const MappedFile file(path, false);
  const std::string name = detail::quote_path(path);
  const ImageSize size =
      is_png(bytes_of(file), name) ? png_size(bytes_of(file), name) : jpeg_size(bytes_of(file), name);
  check_image_size(name, size, max_pixels);
  return size;
}

NDArray read_image(const std::filesystem::path& path, const ReadImageOptions& options) {
  check<ValueError>(options.channels == 1 || options.channels == 3, "read_image: channels is ", options.channels,
                    ", expected 1 or 3");
  check<ValueError>(options.max_pixels >= 1, "read_image: max_pixels is ", options.max_pixels);
  const MappedFile file(path, false);  // others may shorten it meanwhile
  return as_planes(decode(bytes_of(file), detail::quote_path(path), options.max_pixels), options.channels);
}

NDArray resize_image(const NDArray& image, Pair size) {
  check<DTypeError>(image.dtype() == DType::uint8, "resize_image: expects bytes, got ", describe(image));
  check<ShapeError>(image.ndim() == 3 && image.numel() > 0, "resize_image: expects [channels, height, width], got ",
                    describe(image));
  const auto [height, width] = size;
  check<ValueError>(height >= 1 && width >= 1 && height <= kMostImageSide && width <= kMostImageSide,
                    "resize_image: to ", height, " x ", width, " pixels");
  const int64_t channels = image.shape(0), lines = image.shape(1);
  NDArray x = image.contiguous();
  if (x.shape(2) != width) {
    NDArray y({channels, lines, width}, DType::uint8);
    resample(x.data<uint8_t>(), y.data<uint8_t>(), windows_of(x.shape(2), width), x.shape(2), channels * lines, 1);
    x = y;
  }
  if (lines != height) {
    NDArray y({channels, height, width}, DType::uint8);
    resample(x.data<uint8_t>(), y.data<uint8_t>(), windows_of(lines, height), lines, channels, width);
    x = y;
  }
  return x;
}

}  // namespace thimble::data
