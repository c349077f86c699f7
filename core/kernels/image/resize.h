// Resampling of images that lie as [n, h, w, c]: rows first, then columns, each output the weighted sum of a few
// inputs.
#pragma once

#include <cstdint>
#include <vector>

namespace thimble::kernels {

/// How outputs along an axis are made of inputs: entries starts[i] to starts[i + 1] of `index` and `weight` are output
/// i's.
struct ResizeAxis {
  int64_t in = 0;
  std::vector<int64_t> starts, index;
  std::vector<float> weight;

  int64_t out() const { return static_cast<int64_t>(starts.size()) - 1; }
};

/// A resampling of images with so many channels. Each row of outputs is, in floats, the sum over input rows in their
/// order, then each pixel the one over that row's pixels: one rounding for each product and sum, so the same bits on
/// every instruction set. Of uint8, results are rounded half to even; weights must be at least 0 and their sums 1.
/// Where weights are multiples of 2^-4 or more, sums of bytes may be integers of 16 bits: the same results, as floats
/// are exact there.
class ImageResize {
 public:
  ImageResize(ResizeAxis rows, ResizeAxis columns, int64_t channels);
  void run(const float* x, int64_t images, float* y) const;
  void run(const uint8_t* x, int64_t images, uint8_t* y) const;

 private:
  template <typename Sum, typename T, typename Body>
  void for_each_row(const T* x, int64_t images, T* y, Body&& body) const;
  template <typename T>
  void run_in_floats(const T* x, int64_t images, T* y) const;
  void run_fixed(const uint8_t* x, int64_t images, uint8_t* y) const;
  void find_fixed_weights();

  ResizeAxis rows_, columns_;
  int64_t channels_;
  // Of few channels, for each element of a row of outputs: the places and weights of its one or two inputs.
  std::vector<int32_t> first_, second_;
  std::vector<float> of_first_, of_second_;
  // Weights that are multiples of 2^-shift: bytes are added up in 16 bits. 0: they are others.
  int shift_ = 0;
  std::vector<uint16_t> fixed_rows_, fixed_columns_;
};

/// Picks rows and columns of images that lie as [n, h, w, c], of so many bytes a pixel: output [y, x] is input
/// [rows[y], columns[x]].
void pick_pixels(const void* x, int64_t images, int64_t height, int64_t width, int64_t pixel_bytes,
                 const std::vector<int64_t>& rows, const std::vector<int64_t>& columns, void* y);

}  // namespace thimble::kernels
