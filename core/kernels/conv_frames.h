// What a convolution's windows see of each image, as kernels want it: with the padding around, so that no window has a
// border to look after, and a window's elements where they lie (implicit GEMM: nothing is copied for each window).
#pragma once

#include <cstdint>
#include <vector>

#include <thimble/core/kernels/conv2d_geometry.h>

namespace thimble::kernels {

/// Frames [height, width, in_channels] around channels-last images. Distances are in elements.
class ConvFrames {
 public:
  /// g without taps that see nothing but padding. With `always_copy`, images are not used in place even if they could.
  explicit ConvFrames(const Conv2dGeometry& g, bool always_copy = false);

  int64_t elements() const { return height_ * width_ * g_.in_channels; }
  /// The images can be read where they are, as if they were frames.
  bool in_place() const { return in_place_; }
  int64_t image_step() const { return in_place_ ? g_.in_height * g_.in_width * g_.in_channels : elements(); }
  /// From an output pixel's window to the one below, and to the one beside it.
  int64_t row_step() const { return g_.stride_height * width_ * g_.in_channels; }
  int64_t pixel_step() const { return g_.stride_width * g_.in_channels; }
  /// The windows of all rows of outputs of an image, or of all images, lie pixel_step() apart.
  bool rows_merge() const { return row_step() == g_.out_width * pixel_step(); }
  bool images_merge() const { return rows_merge() && image_step() == g_.out_height * row_step(); }

  /// A window's elements (of one group) lie in segments of equal length, which begin so far from its first element.
  const std::vector<int64_t>& segments() const { return segments_; }
  int64_t segment_taps() const { return segment_taps_; }
  int64_t segment_elements() const { return segment_taps_ * g_.group_in(); }

  /// Fills the part of an image's frame that rows [first, last) of outputs see, `padding` where there is no image.
  template <typename T>
  void fill(const T* image, T padding, int64_t first, int64_t last, T* frame) const;

 private:
  Conv2dGeometry g_;
  int64_t height_, width_;
  bool in_place_;
  int64_t segment_taps_;
  std::vector<int64_t> segments_;
};

}  // namespace thimble::kernels
