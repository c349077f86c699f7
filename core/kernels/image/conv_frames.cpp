#include <algorithm>

#include <thimble/core/kernels/image/conv_frames.h>

namespace thimble::kernels {

ConvFrames::ConvFrames(const Conv2dGeometry& g, Layout layout)
    : g_(g),
      rows_{g.kernel_height, g.stride_height, g.dilation_height, g.stride_height, g.dilation_height, g.pad_top},
      columns_{g.kernel_width, g.stride_width, g.dilation_width, g.stride_width, g.dilation_width, g.pad_left},
      in_place_(layout == Layout::any && g.pad_top == 0 && g.pad_left == 0 && rows_.size(g.out_height) <= g.in_height &&
                columns_.size(g.out_width) <= g.in_width) {
  if (!in_place_) {
    if (rows_.size(g.out_height) > g.out_height * g.kernel_height) rows_.separate();
    if (layout == Layout::rows_merged || columns_.size(g.out_width) > g.out_width * g.kernel_width) columns_.separate();
  }
  if (layout == Layout::rows_merged) {
    planes_ = rows_.stride;
    plane_rows_ = plane_rows(g.out_height);
  }
  width_ = in_place_ ? g.in_width : columns_.size(g.out_width);
  // Rows of the kernel whose taps lie side by side are one segment each.
  segment_taps_ = columns_.dilation == 1 && g.groups == 1 ? g.kernel_width : 1;
  for (int64_t kh = 0; kh < g.kernel_height; ++kh)
    for (int64_t kw = 0; kw < g.kernel_width; ++kw) {
      taps_.push_back((place(kh * rows_.dilation) * width_ + kw * columns_.dilation) * g.in_channels);
      if (kw % segment_taps_ == 0) segments_.push_back(taps_.back());
    }
}

template <typename T>
void ConvFrames::fill(const T* image, T padding, int64_t first, int64_t last, T* frame) const {
  const int64_t size = rows_.size(last - first);
  for (int64_t i = 0; i < size; ++i) fill_row_of(image, padding, first * rows_.stride + i, i, frame);
}

template <typename T>
void ConvFrames::fill_part(const T* image, T padding, int64_t first, int64_t last, T* frame) const {
  const int64_t end = last == g_.out_height ? rows_.size(last) : last * rows_.stride;
  for (int64_t i = first * rows_.stride; i < end; ++i) fill_row_of(image, padding, i, i, frame);
}

template <typename T>
void ConvFrames::fill_row_of(const T* image, T padding, int64_t at, int64_t i, T* frame) const {
  const int64_t y = rows_.source(at);
  T* row = frame + place(i) * row_elements();
  if (y < 0 || y >= g_.in_height)
    std::fill_n(row, row_elements(), padding);
  else
    fill_row(image + y * g_.in_width * g_.in_channels, padding, row);
}

template <typename T>
void ConvFrames::fill_row(const T* row, T padding, T* frame) const {
  const int64_t pixel = g_.in_channels;
  if (columns_.is_separate()) {
    for (int64_t i = 0; i < width_; ++i, frame += pixel) {
      const int64_t x = columns_.source(i);
      if (x < 0 || x >= g_.in_width)
        std::fill_n(frame, pixel, padding);
      else
        std::copy_n(row + x * pixel, pixel, frame);
    }
    return;
  }
  // The columns of the image that are in the frame.
  const int64_t left = std::clamp<int64_t>(g_.pad_left, 0, width_), skipped = std::max<int64_t>(-g_.pad_left, 0);
  const int64_t inside = std::clamp<int64_t>(g_.in_width - skipped, 0, width_ - left);
  std::fill_n(frame, left * pixel, padding);
  std::copy_n(row + skipped * pixel, inside * pixel, frame + left * pixel);
  std::fill_n(frame + (left + inside) * pixel, (width_ - left - inside) * pixel, padding);
}

template void ConvFrames::fill(const uint8_t*, uint8_t, int64_t, int64_t, uint8_t*) const;
template void ConvFrames::fill_part(const uint8_t*, uint8_t, int64_t, int64_t, uint8_t*) const;
template void ConvFrames::fill(const float*, float, int64_t, int64_t, float*) const;
template void ConvFrames::fill(const double*, double, int64_t, int64_t, double*) const;

}  // namespace thimble::kernels
