#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "tests/nn/images/jpeg_files.h"
#include "tests/nn/images/png_files.h"
#include "tests/serialization/damage.h"
#include <thimble/nn/images/read_image.h>

namespace thimble::data {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::ThrowsMessage;

NDArray read(const std::string& bytes, const ReadImageOptions& options = {}) {
  TempFolder folder;
  write_bytes(folder / "f", bytes);
  return read_image(folder / "f", options);
}

std::vector<uint8_t> pixels_of(const NDArray& image) { return image.to_vector<uint8_t>(); }

// The pixels of a plane of 5 x 7, of which each row and column differ.
std::vector<uint8_t> pattern() {
  std::vector<uint8_t> pixels;
  for (int i = 0; i < 35; ++i) pixels.push_back(static_cast<uint8_t>((i * 37 + 11) % 256));
  return pixels;
}

TEST(ReadImage, ReadsEveryDepthOfGreyInterlacedOrNot) {
  for (const int depth : {1, 2, 4, 8, 16})
    for (const bool interlaced : {false, true}) {
      SCOPED_TRACE(depth);
      const uint32_t most = (1u << depth) - 1;
      Png png{.height = 9, .width = 11, .depth = depth, .colour = kGrey, .interlaced = interlaced};
      std::vector<uint8_t> expected;
      for (uint32_t i = 0; i < 99; ++i) {
        const uint32_t sample = i * 2654435761u >> 16 & most;
        png.samples.push_back(sample);
        expected.push_back(static_cast<uint8_t>((sample * 255 + most / 2) / most));  // rounded
      }
      const NDArray grey = read(png_bytes(png), {.channels = 1});
      EXPECT_EQ(grey.shape(), (Shape{1, 9, 11}));
      EXPECT_THAT(pixels_of(grey), ElementsAreArray(expected));
      const NDArray coloured = read(png_bytes(png));
      EXPECT_EQ(coloured.shape(), (Shape{3, 9, 11}));
      for (int64_t c = 0; c < 3; ++c) EXPECT_THAT(pixels_of(coloured.slice(0, c, c + 1)), ElementsAreArray(expected));
    }
}

TEST(ReadImage, ReadsColoursAndDropsTransparency) {
  const std::vector<uint32_t> rgb{10, 200, 30, 255, 0, 128}, wide{10 * 257, 200 * 257, 30 * 257, 65535, 100, 128 * 257};
  const std::vector<uint32_t> with_alpha{10, 200, 30, 0, 255, 0, 128, 77};
  const auto expected = ElementsAre(10, 255, 200, 0, 30, 128);
  EXPECT_THAT(pixels_of(read(png_bytes({.height = 1, .width = 2, .samples = rgb}))), expected);
  EXPECT_THAT(pixels_of(read(png_bytes({.height = 1, .width = 2, .depth = 16, .samples = wide}))), expected);
  EXPECT_THAT(pixels_of(read(png_bytes({.height = 1, .width = 2, .colour = kRgbAlpha, .samples = with_alpha}))),
              expected);
  const std::string palette{10, char(200), 30, 1, 2, 3, char(255), 0, char(128)};
  for (const std::string transparency : {"", "\x01"})
    EXPECT_THAT(pixels_of(read(png_bytes({.height = 1,
                                          .width = 2,
                                          .depth = 2,
                                          .colour = kPalette,
                                          .samples = {0, 2},
                                          .palette = palette,
                                          .transparency = transparency}))),
                expected);
  const Png grey_alpha{.height = 1, .width = 2, .colour = kGreyAlpha, .samples = {7, 0, 9, 255}};
  EXPECT_THAT(pixels_of(read(png_bytes(grey_alpha), {.channels = 1})), ElementsAre(7, 9));
  // Pillow's convert("L").
  const Png three{.height = 1, .width = 3, .samples = {10, 200, 30, 255, 0, 128, 77, 78, 79}};
  EXPECT_THAT(pixels_of(read(png_bytes(three), {.channels = 1})), ElementsAre(124, 91, 78));
}

TEST(ReadImage, ReadsJpeg) {
  std::vector<uint8_t> pixels;
  for (int i = 0; i < 20 * 30; ++i)
    for (const int value : {i % 30 * 8, i / 30 * 12, 255 - i % 30 * 8}) pixels.push_back(static_cast<uint8_t>(value));
  for (const bool progressive : {false, true}) {
    const NDArray image = read(jpeg_bytes(20, 30, JCS_RGB, pixels, progressive));
    ASSERT_EQ(image.shape(), (Shape{3, 20, 30}));
    for (int64_t i = 0; i < 600; ++i)
      for (int64_t c = 0; c < 3; ++c)
        EXPECT_NEAR(image.data<uint8_t>()[c * 600 + i], pixels[static_cast<size_t>(i * 3 + c)], 4) << i << ' ' << c;
  }
  std::vector<uint8_t> greys(pixels.begin(), pixels.begin() + 600);
  for (size_t i = 0; i < 600; ++i) greys[i] = static_cast<uint8_t>(i / 30 * 12);
  const NDArray grey = read(jpeg_bytes(20, 30, JCS_GRAYSCALE, greys));
  ASSERT_EQ(grey.shape(), (Shape{3, 20, 30}));
  for (size_t i = 0; i < 600; ++i) EXPECT_NEAR(grey.data<uint8_t>()[600 + i], greys[i], 3) << i;
}

TEST(ReadImage, SaysWhatItDoesNotRead) {
  TempFolder folder;
  const auto read_file = [](const std::filesystem::path& path) { read_image(path); };
  EXPECT_THAT(format_error_of("GIF89a", read_file), HasSubstr("is neither PNG nor JPEG"));
  EXPECT_THAT(format_error_of("", read_file), HasSubstr("is neither PNG nor JPEG"));
  const std::vector<uint8_t> cmyk(4 * 8 * 8, 100);
  EXPECT_THAT(format_error_of(jpeg_bytes(8, 8, JCS_CMYK, cmyk), read_file), HasSubstr("CMYK"));
  EXPECT_THROW(read_image(folder / "missing.png"), IOError);
  EXPECT_THROW(read_image(folder.path()), IOError);
  EXPECT_THROW(read_image(folder / "x", {.channels = 4}), ValueError);
  EXPECT_THROW(read_image(folder / "x", {.max_pixels = 0}), ValueError);
}

// Before any memory is taken.
TEST(ReadImage, RefusesPicturesThatAreTooLarge) {
  const auto with_size = [](uint32_t height, uint32_t width) {
    std::string file = plain_png(1, 1, {1, 2, 3});
    const std::string header = png_number(width) + png_number(height) + std::string("\x08\x02\0\0\0", 5);
    return file.replace(8, 25, png_chunk("IHDR", header));
  };
  const auto read_file = [](const std::filesystem::path& path) { read_image(path); };
  EXPECT_THAT(format_error_of(with_size(60000, 60000), read_file), HasSubstr("60000 x 60000 pixels, more than the"));
  EXPECT_THAT(format_error_of(with_size(2000000000, 2000000000), read_file),
              HasSubstr("no side may have more than 65535"));
  EXPECT_THAT(format_error_of(with_size(1, 65536), read_file), HasSubstr("1 x 65536 pixels, and no side"));
  EXPECT_THAT(format_error_of(with_size(0, 5), read_file), HasSubstr("0 x 5 pixels, of none"));
  EXPECT_THAT(format_error_of(with_size(8000, 8000), read_file), HasSubstr("no file of"));
  const std::string small = plain_png(3, 4, {1, 2, 3});
  EXPECT_EQ(read(small, {.max_pixels = 12}).shape(), (Shape{3, 3, 4}));
  EXPECT_THROW(read(small, {.max_pixels = 11}), FormatError);
  // The frame header of a JPEG: marker, length, precision, height, width.
  std::string jpeg = jpeg_bytes(8, 8, JCS_GRAYSCALE, std::vector<uint8_t>(64, 9));
  const size_t frame = jpeg.find("\xff\xc0");
  ASSERT_NE(frame, std::string::npos);
  jpeg.replace(frame + 5, 4, "\x1f\x40\x1f\x40");
  EXPECT_THAT(format_error_of(jpeg, read_file), HasSubstr("no file of"));
  jpeg.replace(frame + 5, 4, "\xff\x00\xff\x00", 4);
  EXPECT_THAT(format_error_of(jpeg, read_file), HasSubstr("65280 x 65280 pixels, more than the"));
}

int64_t most_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

// Of which libpng would keep all.
TEST(ReadImage, InflatesNoTexts) {
  constexpr size_t kTexts = 64, kLetters = size_t{1} << 20;
  const std::string chunk =
      png_chunk("zTXt", std::string("Comment\0\0", 9) + deflated(std::string(kLetters, 'a'), MAX_WBITS));
  std::string texts;
  for (size_t i = 0; i < kTexts; ++i) texts += chunk;
  const std::string plain = plain_png(1, 1, {1, 2, 3});
  const size_t header = 8 + 25, end = 12;
  for (const size_t at : {header, plain.size() - end}) {
    const std::string file = std::string(plain).insert(at, texts);
    const int64_t before = most_memory();
    EXPECT_THAT(pixels_of(read(file)), ElementsAre(1, 2, 3));
    EXPECT_LT(most_memory() - before, int64_t{kTexts * kLetters / 2});
  }
}

// A plain PNG, one with a palette that is interlaced, a JPEG, a progressive one.
class DamagedImage : public testing::TestWithParam<int> {
 protected:
  static std::string good() {
    Png png{.height = 5, .width = 7, .colour = kPalette, .interlaced = true, .palette = std::string(768, 'p')};
    std::vector<uint8_t> thrice;
    for (const uint8_t pixel : pattern()) {
      png.samples.push_back(pixel);
      thrice.insert(thrice.end(), 3, pixel);
    }
    if (GetParam() == 0) return plain_png(5, 7, {1, 200, 3});
    return GetParam() == 1 ? png_bytes(png) : jpeg_bytes(5, 7, JCS_RGB, thrice, GetParam() == 3);
  }
  static void read_file(const std::filesystem::path& path) { read_image(path); }
};

TEST_P(DamagedImage, IsRefusedIfItEndsTooEarly) { expect_prefixes_refused(good(), read_file); }

TEST_P(DamagedImage, IsSurvived) { expect_flips_survived(good(), read_file, 2000); }

INSTANTIATE_TEST_SUITE_P(EachFormat, DamagedImage, testing::Range(0, 4));

// Numbers are Pillow's.
TEST(ResizeImage, IsPillowsBilinear) {
  const NDArray x = NDArray::from_vector(pattern(), {1, 5, 7});
  EXPECT_THAT(pixels_of(resize_image(x, {3, 4})), ElementsAre(31, 89, 157, 215, 36, 94, 162, 220, 41, 99, 167, 225));
  EXPECT_THAT(
      pixels_of(resize_image(x, {8, 10})),
      ElementsAreArray({11, 31, 57, 83, 109, 135, 161, 187, 213, 233, 12, 32, 58, 84, 110, 136, 162, 188, 214, 234,
                        14, 34, 60, 86, 112, 138, 164, 190, 216, 236, 16, 36, 62, 88, 114, 140, 166, 192, 218, 238,
                        18, 38, 64, 90, 116, 142, 168, 194, 220, 240, 20, 40, 66, 92, 118, 144, 170, 196, 222, 242,
                        22, 42, 68, 94, 120, 146, 172, 198, 224, 244, 23, 43, 69, 95, 121, 147, 173, 199, 225, 245}));
  EXPECT_THAT(pixels_of(resize_image(x, {5, 3})),
              ElementsAre(43, 122, 201, 46, 125, 204, 49, 128, 207, 52, 131, 210, 55, 134, 213));
  EXPECT_THAT(pixels_of(resize_image(x, 1)), ElementsAre(128));
  EXPECT_EQ(pixels_of(resize_image(x, {5, 7})), pattern());
  EXPECT_EQ(resize_image(NDArray::zeros({3, 2, 2}, DType::uint8), {4, 6}).shape(), (Shape{3, 4, 6}));
  EXPECT_THROW(resize_image(x, {0, 4}), ValueError);
  EXPECT_THROW(resize_image(x.squeeze(0), 4), ShapeError);
  EXPECT_THROW(resize_image(NDArray::zeros({1, 2, 2}), 4), DTypeError);
}

}  // namespace
}  // namespace thimble::data
