// Where the windows of pools lie. Internal.
#pragma once

#include <string_view>
#include <utility>

#include <thimble/core/attributes.h>
#include <thimble/core/kernels/image/conv2d_geometry.h>
#include <thimble/core/ops/conv.h>
#include <thimble/core/ops/pair.h>

namespace thimble {

/// Padding that follows from the image's size, as in ONNX: as many windows as ceil(size / stride), and what that needs
/// beyond the image half before and half after it. `upper` puts the larger half behind the image.
enum class AutoPad { none, upper, lower };
std::string_view name(AutoPad auto_pad);
/// Throws FormatError for another name than "none", "upper" and "lower".
AutoPad auto_pad_from_name(std::string_view name);

/// {before, after} along an axis of `size`, of windows that reach over `reach` pixels.
std::pair<int64_t, int64_t> same_padding(int64_t size, int64_t reach, int64_t stride, AutoPad auto_pad);

/// What pools have in common.
struct Pool2d {
  Pair kernel, stride;
  Padding padding;
  Pair dilation = 1;
  bool ceil_mode = false;
  AutoPad auto_pad = AutoPad::none;  ///< instead of the padding

  void to_attributes(Attributes& attributes) const;
  /// Throws FormatError.
  static Pool2d from(const Attributes& attributes);
};

/// The geometry of a pool of images [n, c, h, w]. Throws as the pools do, beginning with `op`.
kernels::Conv2dGeometry pool_geometry(std::string_view op, const Shape& x, const Pool2d& pool);

/// How many pixels of the padding lie behind the image: of that which the options say, not what windows hang over.
struct PaddingAfter {
  int64_t bottom, right;
};
PaddingAfter padding_after(const Shape& x, const Pool2d& pool);

/// Throws ShapeError unless x is [n, c, h, w] with n > 0, of sizes that can be reckoned with.
void check_pool_image(std::string_view op, const Shape& x);

/// Throws ValueError unless padding is 0 to half of what the kernel reaches over: PyTorch's rule for its functions. In
/// files it is ONNX's, which is wider.
void check_at_most_half(std::string_view op, int64_t kernel, int64_t padding, int64_t dilation);

inline Shape unpooled_shape(const kernels::Conv2dGeometry& g) {
  return {g.batch, g.in_channels, g.in_height, g.in_width};
}
inline Shape pooled_shape(const kernels::Conv2dGeometry& g) {
  return {g.batch, g.out_channels, g.out_height, g.out_width};
}

}  // namespace thimble
