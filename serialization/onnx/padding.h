// Windows of convolutions and pools. Internal.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <thimble/serialization/onnx/onnx_node.h>

namespace thimble::onnx {

/// Numbers of windows are below this, so that no sum of their products leaves int64.
inline constexpr int64_t kMostOfWindow = int64_t{1} << 30;

/// Numbers for height and width, or depth, height and width, as Thimble's attributes have them.
struct Window {
  std::vector<int64_t> kernel, stride, dilation;
  std::vector<int64_t> padding;  ///< of each axis in front, then of each behind
  /// Where the padding depends on the image's size: "upper" or "lower", whose is the larger half; else "none".
  std::string auto_pad = "none";

  size_t dims() const { return kernel.size(); }              ///< 2 or 3
  int rank() const { return static_cast<int>(dims()) + 2; }  ///< of what it goes over
  /// The name of an op or layer for so many: "conv" becomes "conv2d".
  std::string op(const std::string& name) const { return name + std::to_string(dims()) + 'd'; }
};

/// What the node's attributes kernel_shape, strides, dilations, pads and auto_pad say, of one to three spatial
/// dimensions; one is the width. Without a kernel_shape it is `kernel`, of 2 or 3. Throws FormatError for other
/// numbers of dimensions, and where the padding depends on the image's size.
Window window_of(const OnnxNode& node, const std::vector<int64_t>& kernel = {});

/// The same, where the caller knows what to do with auto_pad.
Window window_of_any_size(const OnnxNode& node, const std::vector<int64_t>& kernel = {});

}  // namespace thimble::onnx
