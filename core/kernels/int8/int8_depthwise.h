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

  struct Input {
    const uint8_t* x;        ///< image [rows, columns, channels]
    const uint8_t* outside;  ///< the pixel around it; kWidestDepthwisePanel channels can be read
  };
  /// Rows [first, last) of outputs [width, channels] side by side. The epilogue's arrays are [channels], multipliers
  /// finite; of an Int8RowEpilogue's zero points and scales the first are used. On the calling thread.
  void run(const Input& input, int64_t first, int64_t last, const Int8Epilogue& epilogue, uint8_t* y) const;
  void run(const Input& input, int64_t first, int64_t last, const Int8Epilogue& epilogue, float* y) const;
  void run(const Input& input, int64_t first, int64_t last, const Int8RowEpilogue& epilogue, float* y) const;

 private:
  Int8DepthwiseTask task_of(const Input& input, int64_t first, int64_t last) const;

  bool is_column_;            // the image and its outputs, each one pixel wide: tasks are of a row of them
  Int8DepthwiseShape shape_;  // of the row if so, without its width
  const Int8DepthwiseTable* table_;
  std::shared_ptr<void> packed_;
  int64_t scratch_bytes_;  // unless it is a column
};

}  // namespace thimble::kernels
