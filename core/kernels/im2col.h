// Columns of a convolution: for each output pixel the elements of the input that it sees. See conv2d.h.
#pragma once

#include <algorithm>
#include <cstring>

#include <thimble/core/kernels/conv2d.h>

namespace thimble::kernels {

/// Walks output pixels in order.
class PixelCursor {
 public:
  PixelCursor(const Conv2dGeometry& g, int64_t pixel)
      : g_(g),
        column_(pixel % g.out_width),
        row_(pixel / g.out_width % g.out_height),
        image_(pixel / (g.out_width * g.out_height)) {}

  int64_t image() const { return image_; }
  /// Where the window's first tap lies in the input; it may be in the padding.
  int64_t top() const { return row_ * g_.stride_height - g_.pad_top; }
  int64_t left() const { return column_ * g_.stride_width - g_.pad_left; }
  /// Pixels from here to the end of the row.
  int64_t left_in_row() const { return g_.out_width - column_; }

  void advance(int64_t pixels = 1) {
    column_ += pixels;
    if (column_ < g_.out_width) return;
    column_ = 0;
    if (++row_ < g_.out_height) return;
    row_ = 0;
    ++image_;
  }

 private:
  const Conv2dGeometry& g_;
  int64_t column_, row_, image_;
};

/// Calls run(offset in the input, offset in the pixel's columns, elements) for each run of input elements that lie side
/// by side in both, and padding(offset in columns, elements) for what lies outside of the input.
template <typename Run, typename Padding>
void for_each_run(const Conv2dGeometry& g, const PixelCursor& pixel, int64_t group, Run&& run, Padding&& padding) {
  const int64_t channels = g.group_in(), row_columns = g.kernel_width * channels;
  const int64_t left = pixel.left();
  const bool dense = g.dilation_width == 1 && g.groups == 1;
  for (int64_t kh = 0; kh < g.kernel_height; ++kh) {
    const int64_t y = pixel.top() + kh * g.dilation_height, columns = kh * row_columns;
    if (y < 0 || y >= g.in_height) {
      padding(columns, row_columns);
      continue;
    }
    const int64_t row = (pixel.image() * g.in_height + y) * g.in_width;
    if (dense) {
      const int64_t first = std::clamp<int64_t>(-left, 0, g.kernel_width);
      const int64_t last = std::clamp<int64_t>(g.in_width - left, first, g.kernel_width);
      if (first > 0) padding(columns, first * channels);
      if (first < last) run((row + left + first) * channels, columns + first * channels, (last - first) * channels);
      if (last < g.kernel_width) padding(columns + last * channels, (g.kernel_width - last) * channels);
      continue;
    }
    for (int64_t kw = 0; kw < g.kernel_width; ++kw) {
      const int64_t x = left + kw * g.dilation_width;
      if (x < 0 || x >= g.in_width)
        padding(columns + kw * channels, channels);
      else
        run((row + x) * g.in_channels + group * channels, columns + kw * channels, channels);
    }
  }
}

/// columns [count, g.columns()] of output pixels [first, first + count); elements outside of the input are `padding`.
template <typename T>
void im2col(const Conv2dGeometry& g, const T* x, int64_t group, int64_t first, int64_t count, T padding, T* columns) {
  PixelCursor pixel(g, first);
  for (int64_t i = 0; i < count; ++i, pixel.advance(), columns += g.columns())
    for_each_run(
        g, pixel, group,
        [&](int64_t from, int64_t to, int64_t n) {
          std::memcpy(columns + to, x + from, static_cast<size_t>(n) * sizeof(T));
        },
        [&](int64_t to, int64_t n) { std::fill_n(columns + to, n, padding); });
}

/// The reverse: adds columns to the elements of dx that they came from.
template <typename T>
void col2im(const Conv2dGeometry& g, const T* columns, int64_t ld, int64_t group, int64_t first, int64_t count, T* dx) {
  PixelCursor pixel(g, first);
  for (int64_t i = 0; i < count; ++i, pixel.advance(), columns += ld)
    for_each_run(
        g, pixel, group,
        [&](int64_t to, int64_t from, int64_t n) {
          for (int64_t j = 0; j < n; ++j) dx[to + j] += columns[from + j];
        },
        [](int64_t, int64_t) {});
}

/// im2col for one input channel and a horizontal stride of 1, transposed: columns [g.columns(), ld]. Rows of the image
/// are copied whole, where im2col would copy a few elements at a time.
template <typename T>
void im2col_transposed(const Conv2dGeometry& g, const T* x, int64_t first, int64_t count, int64_t ld, T* columns) {
  PixelCursor pixel(g, first);
  for (int64_t i = 0; i < count;) {
    const int64_t n = std::min(pixel.left_in_row(), count - i);
    T* out = columns + i;
    for (int64_t kh = 0; kh < g.kernel_height; ++kh) {
      const int64_t y = pixel.top() + kh * g.dilation_height;
      for (int64_t kw = 0; kw < g.kernel_width; ++kw, out += ld) {
        const int64_t left = pixel.left() + kw * g.dilation_width;
        const bool inside = y >= 0 && y < g.in_height;
        const int64_t begin = inside ? std::clamp<int64_t>(-left, 0, n) : n;
        const int64_t end = inside ? std::clamp<int64_t>(g.in_width - left, begin, n) : n;
        std::fill_n(out, begin, T{0});
        const T* from = x + (pixel.image() * g.in_height + y) * g.in_width + left;
        for (int64_t j = begin; j < end; ++j) out[j] = from[j];
        std::fill_n(out + end, n - end, T{0});
      }
    }
    pixel.advance(n);
    i += n;
  }
}

}  // namespace thimble::kernels
