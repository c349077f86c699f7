// Convolutions of volumes [n, channels, depth, h, w]; weights as in PyTorch and ONNX.
//
//   Tensor y = conv3d(x, weight, bias, {.stride = 2, .padding = {1, 0, 0}});
//
// Each is the sum over the kernel's planes of convolutions of images. Beside the result they take memory for the input,
// twice where the depth has a stride, and for the convolution by one plane of the kernel, however deep that is. Results
// lie depth first, then channels-last, as views in the usual order; inputs that lie so are not copied. In mixed
// precision they compute in float32.
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/ops/triple.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// Options of conv3d().
struct THIMBLE_API Conv3dOptions {
  Triple stride = 1;
  Padding3d padding = 0;
  Triple dilation = 1;
  int64_t groups = 1;

  /// As attributes of an op or layer: "stride", "padding", ...
  void to_attributes(Attributes& attributes) const;
  /// Throws FormatError.
  static Conv3dOptions from_attributes(const Attributes& attributes);
};

/// x [n, in, d, h, w], weight [out, in / groups, kernel depth, kernel height, kernel width], bias [out] or undefined ->
/// [n, out, d', h', w'], sizes as those of conv2d(). Throws as that does.
THIMBLE_API Tensor conv3d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                          const Conv3dOptions& options = {});

/// The transposed convolution: x [n, in, d, h, w], weight [in, out / groups, kernel depth, kernel height, kernel
/// width], bias [out] or undefined -> [n, out, d', h', w'], sizes as those of conv_transpose2d(). Throws as that does.
THIMBLE_API Tensor conv_transpose3d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                                    const Conv3dOptions& options = {}, Triple output_padding = 0);

}  // namespace thimble
