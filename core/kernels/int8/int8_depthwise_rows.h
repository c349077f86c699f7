// The inner loops of int8 depthwise convolutions, one table of them for each instruction set. Plain data only: sources
// that are compiled for a newer CPU include this.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// Channels of the widest panel: a pixel's are read up to so many at once, even where fewer exist.
constexpr int kWidestDepthwisePanel = 64;

/// What does not depend on the image.
struct Int8DepthwiseShape {
  int64_t channels;
  int64_t rows, columns;  ///< taps
  /// From a pixel's window to the next one's, in taps, if those of a row lie side by side (one pixel apart), else 0.
  int64_t stride;
  int64_t width;  ///< outputs in a row
};

/// Along one axis of an image, in pixels: where the first window begins, how far the next and the next tap are, and
/// where the image ends. The image begins at 0.
struct Int8DepthwiseAxis {
  int64_t first, stride, dilation, size;
};

/// Rows of outputs. Distances are in bytes.
struct Int8DepthwiseTask {
  Int8DepthwiseShape shape;
  int64_t height;  ///< rows of outputs
  const uint8_t* x;
  int64_t first;           ///< from x to the first window's first tap
  int64_t x_row, x_pixel;  ///< from a window to the one below, and to the one beside it
  int64_t tap_row, tap_column;
  /// A pixel to be read where windows see what is outside of the image; null: they see nothing but the image, or frame.
  const uint8_t* outside;
  Int8DepthwiseAxis image_rows, image_columns;
  const void* weights;  ///< as pack() has laid them out
  const int32_t* bias;  ///< [channels], as the next
  const float* multiplier;
  float low, high;  ///< what uint8 results are clamped to before the zero point is added; of float ones, `low`
  int32_t zero_point;
  /// Of an image with parameters of its own (see Int8RowEpilogue): then bias holds the sums of the channels' weights,
  /// multiplier their steps, and results are float.
  bool own_parameters;
  int32_t image_zero_point;
  float image_scale;
  const float* offset;  ///< float32 bias, or null
  void* y;              ///< uint8_t or float, without gaps
  bool float_out;
};

struct Int8DepthwiseTable {
  int64_t (*packed_bytes)(const Int8DepthwiseShape&);
  /// weight is [channels][rows][columns]; packed is aligned to 64 bytes.
  void (*pack)(const Int8DepthwiseShape&, const int8_t* weight, void* packed);
  void (*run)(const Int8DepthwiseTask&);
};
extern const Int8DepthwiseTable int8_depthwise_scalar, int8_depthwise_avx2, int8_depthwise_avx_vnni,
    int8_depthwise_avx512, int8_depthwise_avx512_vnni;

}  // namespace thimble::kernels
