// Depthwise sums of int8 convolutions, with int8_gemm's epilogues.
#pragma once

#include <cstdint>
#include <memory>

#include <thimble/core/kernels/int8/int8_depthwise_rows.h>
#include <thimble/core/kernels/int8/int8_gemm.h>

namespace thimble::kernels {

/// Weights packed for the instruction set in use when they are packed, which then computes with them. Calls are const
/// and may come from several threads.
class Int8Depthwise {
 public:
  /// weight is [channels][rows][columns].
  Int8Depthwise(const Int8DepthwiseShape& shape, const int8_t* weight);

  /// Where a window's elements lie: distances in bytes from a window to the one below and the one beside it, and from a
  /// tap to the one below and the one beside it.
  struct Steps {
    int64_t row, pixel, tap_row, tap_column;
  };
  /// What the windows see. In a frame, nothing is outside. In an image at x, the first window begins at (rows.first,
  /// columns.first), and sees the pixel `outside` where there is no image.
  struct Input {
    const uint8_t* x;
    int64_t first = 0;  ///< from x to the first window's first tap, in bytes
    const uint8_t* outside = nullptr;
    Int8DepthwiseAxis rows = {}, columns = {};
  };
  /// `rows` rows of outputs [width, channels] side by side. Where channels are no multiple of 16, those up to the next
  /// multiple of 64 are read. The epilogue's arrays are [channels]; of an Int8RowEpilogue's zero points and scales the
  /// first are used. On the calling thread.
  void run(const Input& input, const Steps& steps, int64_t rows, const Int8Epilogue& epilogue, uint8_t* y) const;
  void run(const Input& input, const Steps& steps, int64_t rows, const Int8Epilogue& epilogue, float* y) const;
  void run(const Input& input, const Steps& steps, int64_t rows, const Int8RowEpilogue& epilogue, float* y) const;

 private:
  Int8DepthwiseTask task_of(const Input& input, const Steps& steps, int64_t rows) const;

  Int8DepthwiseShape shape_;
  const Int8DepthwiseTable* table_;
  std::shared_ptr<void> packed_;
};

}  // namespace thimble::kernels
