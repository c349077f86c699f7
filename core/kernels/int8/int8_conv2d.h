// Integer convolution over channels-last images, with int8_gemm's arithmetic and epilogue.
//
// The kernel reads what an output pixel sees where it lies (implicit GEMM): one segment for each row of the kernel.
// Images that need padding are copied once into a padded frame, so that no window has a border to look after. Depthwise
// sums pad what they interleave (int8_depthwise.h).
#pragma once

#include <optional>
#include <vector>

#include <thimble/core/kernels/image/conv_frames.h>
#include <thimble/core/kernels/int8/int8_depthwise.h>
#include <thimble/core/kernels/int8/int8_gemm.h>

namespace thimble::kernels {

/// Weights made ready for images of one size. Calls are const and may come from several threads.
class Int8Conv2d {
 public:
  /// weight is int8 [out, in / groups, kernel height, kernel width]; g.batch does not matter. Throws ValueError for
  /// sums of more than PackedInt8Weights::kMaxK products.
  Int8Conv2d(const Conv2dGeometry& g, const int8_t* weight);

  /// Bytes of scratch memory that run() needs.
  int64_t scratch_bytes(int64_t batch) const;

  /// x [batch, height, width, in] -> y [batch, height', width', out], uint8 or float. Outside of the image is
  /// `zero_point`. The epilogue's arrays are [out]; its bias holds the zero point's correction already.
  template <typename Out>
  void run(const uint8_t* x, int64_t batch, uint8_t zero_point, const Int8Epilogue& epilogue, Out* y,
           uint8_t* scratch) const;
  /// The same for images that have parameters of their own: the epilogue's zero_point and scale are [batch].
  void run(const uint8_t* x, int64_t batch, const Int8RowEpilogue& epilogue, float* y, uint8_t* scratch) const;

  /// Sum of each output channel's weights, [out].
  const std::vector<int32_t>& channel_sums() const { return sums_; }

 private:
  /// x, or where it must be padded, its copy in scratch; zero_point(i) is that of image i. Depthwise sums read x, and
  /// in scratch a pixel for what is outside of each image.
  template <typename ZeroPoint>
  const uint8_t* framed(const uint8_t* x, int64_t batch, ZeroPoint&& zero_point, uint8_t* scratch) const;
  int64_t grain_rows() const;
  template <typename Epilogue, typename Out>
  void run_tiles(const uint8_t* frames, const uint8_t* scratch, int64_t batch, const Epilogue& epilogue, Out* y) const;
  template <typename Epilogue, typename Out>
  void run_depthwise(const uint8_t* x, const uint8_t* outside, int64_t batch, const Epilogue& epilogue, Out* y) const;
  template <typename Epilogue, typename Out>
  void run_tile(const uint8_t* frames, int64_t first, int64_t count, const Epilogue& epilogue, Out* y) const;

  Conv2dGeometry g_;  // without taps that see nothing but padding; depthwise, one row is one column
  std::optional<Int8Depthwise> depthwise_;
  std::optional<ConvFrames> frames_;       // or not depthwise
  std::vector<PackedInt8Weights> packed_;  // of each group
  std::vector<int32_t> sums_;
};

}  // namespace thimble::kernels
