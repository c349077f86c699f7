#include <algorithm>

#include <thimble/core/kernels/conv_frames.h>

namespace thimble::kernels {

ConvFrames::ConvFrames(const Conv2dGeometry& g, bool always_copy)
    : g_(g),
      height_((g.out_height - 1) * g.stride_height + (g.kernel_height - 1) * g.dilation_height + 1),
      width_((g.out_width - 1) * g.stride_width + (g.kernel_width - 1) * g.dilation_width + 1),
      in_place_(!always_copy && g.pad_top == 0 && g.pad_left == 0 && height_ <= g.in_height && width_ == g.in_width),
      // Rows of the kernel whose taps lie side by side are one segment each.
      segment_taps_(g.dilation_width == 1 && g.groups == 1 ? g.kernel_width : 1) {
  for (int64_t kh = 0; kh < g.kernel_height; ++kh)
    for (int64_t kw = 0; kw < g.kernel_width; kw += segment_taps_)
      segments_.push_back((kh * g.dilation_height * width_ + kw * g.dilation_width) * g.in_channels);
}

template <typename T>
void ConvFrames::fill(const T* image, T padding, int64_t first, int64_t last, T* frame) const {
  const int64_t pixel = g_.in_channels;
  // The columns of the image that are in the frame.
  const int64_t left = std::clamp<int64_t>(g_.pad_left, 0, width_), skipped = std::max<int64_t>(-g_.pad_left, 0);
  const int64_t inside = std::clamp<int64_t>(g_.in_width - skipped, 0, width_ - left);
  const int64_t end = (last - 1) * g_.stride_height + (g_.kernel_height - 1) * g_.dilation_height + 1;
  for (int64_t y = first * g_.stride_height; y < end; ++y) {
    T* row = frame + y * width_ * pixel;
    const int64_t from = y - g_.pad_top;
    if (from < 0 || from >= g_.in_height) {
      std::fill_n(row, width_ * pixel, padding);
      continue;
    }
    std::fill_n(row, left * pixel, padding);
    std::copy_n(image + (from * g_.in_width + skipped) * pixel, inside * pixel, row + left * pixel);
    std::fill_n(row + (left + inside) * pixel, (width_ - left - inside) * pixel, padding);
  }
}

template void ConvFrames::fill(const uint8_t*, uint8_t, int64_t, int64_t, uint8_t*) const;
template void ConvFrames::fill(const float*, float, int64_t, int64_t, float*) const;
template void ConvFrames::fill(const double*, double, int64_t, int64_t, double*) const;

}  // namespace thimble::kernels
