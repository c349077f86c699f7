// What a convolution's windows see of each image, as kernels want it: with the padding around, so that no window has a
// border to look after, and a window's elements where they lie (implicit GEMM: nothing is copied for each window).
#pragma once

#include <cstdint>
#include <vector>

#include <thimble/core/kernels/image/conv2d_geometry.h>

namespace thimble::kernels {

/// Frames [rows, width, in_channels] around channels-last images. Distances are in elements.
class ConvFrames {
 public:
  enum class Layout {
    any,
    copied,       ///< images are not used in place even if they could be
    rows_merged,  ///< copied, and so that rows_merge() holds
  };

  /// g without taps that see nothing but padding.
  explicit ConvFrames(const Conv2dGeometry& g, Layout layout = Layout::any);

  const Conv2dGeometry& geometry() const { return g_; }
  /// The images can be read where they are, as if they were frames.
  bool in_place() const { return in_place_; }
  /// The size of the frame of `rows` rows of outputs.
  int64_t elements(int64_t rows) const {
    return (planes_ == 1 ? rows_.size(rows) : (planes_ - 1) * plane_rows_ + plane_rows(rows)) * row_elements();
  }
  int64_t image_step() const {
    return in_place_ ? g_.in_height * g_.in_width * g_.in_channels : elements(g_.out_height);
  }
  /// From an output pixel's window to the one below, and to the one beside it.
  int64_t row_step() const { return rows_.stride / planes_ * row_elements(); }
  int64_t pixel_step() const { return columns_.stride * g_.in_channels; }
  /// The windows of all rows of outputs of an image, or of all images, lie pixel_step() apart.
  bool rows_merge() const { return row_step() == g_.out_width * pixel_step(); }
  bool images_merge() const { return rows_merge() && image_step() == g_.out_height * row_step(); }

  /// Frames hold each window's pixels of a row side by side, copied one by one.
  bool columns_separate() const { return columns_.is_separate(); }

  /// A window's elements (of one group) lie in segments of equal length, which begin so far from its first element.
  const std::vector<int64_t>& segments() const { return segments_; }
  int64_t segment_taps() const { return segment_taps_; }
  int64_t segment_elements() const { return segment_taps_ * g_.group_in(); }
  /// Where each tap begins; those of a segment lie side by side.
  const std::vector<int64_t>& taps() const { return taps_; }

  /// Makes the frame of rows [first, last) of an image's outputs, `padding` where there is no image.
  template <typename T>
  void fill(const T* image, T padding, int64_t first, int64_t last, T* frame) const;
  /// Of the whole image's frame, the part of rows [first, last) of outputs: parts of all rows are the frame. Neighbours
  /// see some of each other's.
  template <typename T>
  void fill_part(const T* image, T padding, int64_t first, int64_t last, T* frame) const;

 private:
  // How the windows lie along one axis of a frame. Either as in the padded image, or each with its taps side by side
  // and the next one behind: that takes less where windows lie far apart.
  struct Axis {
    int64_t taps, stride, dilation;
    int64_t image_stride, image_dilation, padding;

    int64_t size(int64_t windows) const { return (windows - 1) * stride + (taps - 1) * dilation + 1; }
    bool is_separate() const { return stride != image_stride || dilation != image_dilation; }
    void separate() { stride = taps, dilation = 1; }
    // Where in the image a place in the frame comes from.
    int64_t source(int64_t at) const {
      if (!is_separate()) return at - padding;
      return at / taps * image_stride + at % taps * image_dilation - padding;
    }
  };

  template <typename T>
  void fill_row(const T* row, T padding, T* frame) const;
  // Row i of a frame, which is row `at` of the whole image's.
  template <typename T>
  void fill_row_of(const T* image, T padding, int64_t at, int64_t i, T* frame) const;

  int64_t row_elements() const { return width_ * g_.in_channels; }
  // Of a plane of the frame of `rows` rows of outputs.
  int64_t plane_rows(int64_t rows) const { return rows + (rows_.taps - 1) * rows_.dilation / planes_; }
  // Where a row of the padded image lies in the frame.
  int64_t place(int64_t row) const { return row % planes_ * plane_rows_ + row / planes_; }

  Conv2dGeometry g_;
  Axis rows_, columns_;
  // Rows that merge lie in planes: every planes_th row of the padded image is one's, so that a tap goes down by one
  // row.
  int64_t planes_ = 1, plane_rows_ = 0;
  int64_t width_;
  bool in_place_;
  int64_t segment_taps_;
  std::vector<int64_t> segments_, taps_;
};

}  // namespace thimble::kernels
