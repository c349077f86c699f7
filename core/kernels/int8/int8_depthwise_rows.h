// The inner loops of int8 depthwise convolutions, one table of them for each instruction set. Plain data only: sources
// that are compiled for a newer CPU include this.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// Channels of the widest panel: of the pixel that stands for what is outside, so many are read.
constexpr int kWidestDepthwisePanel = 64;

/// Along one axis, in pixels: the kernel's taps, how far the next window and the next tap are, how much of the first
/// window lies in front of the image, and the image's size.
struct Int8DepthwiseAxis {
  int64_t taps, stride, dilation, padding, size;
};

struct Int8DepthwiseShape {
  int64_t channels;
  Int8DepthwiseAxis rows, columns;
  int64_t width;  ///< outputs in a row
};

/// Rows of outputs of an image.
struct Int8DepthwiseTask {
  Int8DepthwiseShape shape;
  const uint8_t* x;        ///< image [rows.size, columns.size, channels]
  const uint8_t* outside;  ///< the pixel that is all around it; kWidestDepthwisePanel channels can be read
  int64_t first_row, height;
  void* scratch;            ///< scratch_bytes() of it, aligned to 64 bytes
  const void* weights;      ///< as pack() has laid them out
  const int32_t* bias;      ///< [channels], as the next
  const float* multiplier;  ///< finite
  float low, high;          ///< what uint8 results are clamped to before the zero point is added; of float ones, `low`
  int32_t zero_point;
  /// Of an image with parameters of its own (see Int8RowEpilogue): then bias holds the sums of the channels' weights,
  /// multiplier their steps, and results are float.
  bool own_parameters;
  int32_t image_zero_point;
  float image_scale;
  const float* offset;  ///< float32 bias, or null
  void* y;              ///< [height, width, channels], uint8_t or float
  bool float_out;
};

struct Int8DepthwiseTable {
  int64_t (*packed_bytes)(const Int8DepthwiseShape&);
  int64_t (*scratch_bytes)(const Int8DepthwiseShape&);
  /// weight is [channels][rows][columns]; packed is aligned to 64 bytes.
  void (*pack)(const Int8DepthwiseShape&, const int8_t* weight, void* packed);
  void (*run)(const Int8DepthwiseTask&);
};
extern const Int8DepthwiseTable int8_depthwise_scalar, int8_depthwise_avx2, int8_depthwise_avx_vnni,
    int8_depthwise_avx512, int8_depthwise_avx512_vnni;

}  // namespace thimble::kernels
