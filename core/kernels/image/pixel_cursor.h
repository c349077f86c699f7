// The output pixels of a convolution, in order.
#pragma once

#include <cstdint>

#include <thimble/core/kernels/image/conv2d_geometry.h>

namespace thimble::kernels {

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

  void advance() {
    if (++column_ < g_.out_width) return;
    column_ = 0;
    if (++row_ < g_.out_height) return;
    row_ = 0;
    ++image_;
  }

 private:
  const Conv2dGeometry& g_;
  int64_t column_, row_, image_;
};

}  // namespace thimble::kernels
