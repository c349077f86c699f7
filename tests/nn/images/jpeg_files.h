// JPEG files for tests.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <jpeglib.h>

namespace thimble::data {

/// Of an image whose channels lie side by side; quality 100, and colours as many as pixels.
inline std::string jpeg_bytes(unsigned height, unsigned width, J_COLOR_SPACE colours,
                              const std::vector<uint8_t>& pixels, bool progressive = false) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* out = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &out, &size);
  info.image_height = height;
  info.image_width = width;
  info.in_color_space = colours;
  info.input_components = colours == JCS_GRAYSCALE ? 1 : colours == JCS_CMYK ? 4 : 3;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 100, TRUE);
  info.comp_info[0].h_samp_factor = info.comp_info[0].v_samp_factor = 1;
  if (progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  const size_t row = size_t{width} * static_cast<size_t>(info.input_components);
  while (info.next_scanline < height) {
    JSAMPROW at = const_cast<uint8_t*>(pixels.data()) + row * info.next_scanline;
    jpeg_write_scanlines(&info, &at, 1);
  }
  jpeg_finish_compress(&info);
  std::string bytes(reinterpret_cast<const char*>(out), size);
  jpeg_destroy_compress(&info);
  std::free(out);
  return bytes;
}

}  // namespace thimble::data
