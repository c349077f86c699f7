// From what output pixels see back to the image. See conv2d.h.
#pragma once

#include <algorithm>
#include <cstdint>

#include <thimble/core/kernels/image/pixel_cursor.h>

namespace thimble::kernels {

/// Calls run(offset in the image, offset in the window's elements, count) for each run of elements of a pixel's window
/// that lie side by side in both; there are none for what lies outside of the image.
template <typename Run>
void for_each_run(const Conv2dGeometry& g, const PixelCursor& pixel, int64_t group, Run&& run) {
  const int64_t channels = g.group_in(), left = pixel.left();
  const bool dense = g.dilation_width == 1 && g.groups == 1;
  for (int64_t kh = 0; kh < g.kernel_height; ++kh) {
    const int64_t y = pixel.top() + kh * g.dilation_height, columns = kh * g.kernel_width * channels;
    if (y < 0 || y >= g.in_height) continue;
    const int64_t row = (pixel.image() * g.in_height + y) * g.in_width;
    if (dense) {
      const int64_t first = std::clamp<int64_t>(-left, 0, g.kernel_width);
      const int64_t last = std::clamp<int64_t>(g.in_width - left, first, g.kernel_width);
      if (first < last) run((row + left + first) * channels, columns + first * channels, (last - first) * channels);
      continue;
    }
    for (int64_t kw = 0; kw < g.kernel_width; ++kw) {
      const int64_t x = left + kw * g.dilation_width;
      if (x >= 0 && x < g.in_width)
        run((row + x) * g.in_channels + group * channels, columns + kw * channels, channels);
    }
  }
}

/// Adds what output pixels [first, first + count) see, dense rows [kernel_height, kernel_width, channels of the group],
/// to the elements of dx that they saw.
template <typename T>
void col2im(const Conv2dGeometry& g, const T* columns, int64_t group, int64_t first, int64_t count, T* dx) {
  PixelCursor pixel(g, first);
  for (int64_t i = 0; i < count; ++i, pixel.advance(), columns += g.columns())
    for_each_run(g, pixel, group, [&](int64_t to, int64_t from, int64_t n) {
      for (int64_t j = 0; j < n; ++j) dx[to + j] += columns[from + j];
    });
}

}  // namespace thimble::kernels
