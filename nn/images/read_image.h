// Pictures from PNG and JPEG files. In the library thimble::images.
//
//   NDArray pixels = data::read_image("cat.jpg");                  // uint8 [3, height, width]
//   NDArray small = data::resize_image(pixels, {32, 32});
#pragma once

#include <filesystem>

#include <thimble/core/api.h>
#include <thimble/core/ndarray.h>
#include <thimble/core/ops/pair.h>

namespace thimble::data {

/// How pictures are read.
struct THIMBLE_API ReadImageOptions {
  int64_t channels = 3;                   ///< 3: red, green, blue; 1: grey, 0.299 R + 0.587 G + 0.114 B
  int64_t max_pixels = int64_t{1} << 26;  ///< more than that are refused before memory is taken for them
};

/// The picture as uint8 [channels, height, width], of a PNG or JPEG file, which its first bytes tell apart.
///
/// Of PNG: any depth and colour type, interlaced or not; 16 bits are rounded to 8, palettes looked up, transparency is
/// dropped (what lies under it is seen) and gamma and colour profiles are ignored. Of JPEG: baseline and progressive,
/// grey or YCbCr or RGB; CMYK is an error. As in torchvision, an orientation in EXIF is not applied: pixels are as they
/// are stored. The values are those of Pillow, but for PNG of 16 bits, which Pillow does not round.
///
/// Throws IOError, FormatError that names the file for one that is damaged, incomplete, too large or of another kind,
/// whatever it holds; ValueError for options out of range.
THIMBLE_API NDArray read_image(const std::filesystem::path& path, const ReadImageOptions& options = {});

/// uint8 [channels, height, width] in another size: linear interpolation, over as many pixels as become one
/// (antialiased) where it gets smaller; Pillow's resize(..., BILINEAR), bit for bit. Throws ShapeError, DTypeError, or
/// ValueError for sizes that are not in 1 to 65535.
THIMBLE_API NDArray resize_image(const NDArray& image, Pair size);

}  // namespace thimble::data
