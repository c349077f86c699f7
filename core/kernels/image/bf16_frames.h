// Images of bfloat16 widened to float32 in frames of zeros, where windows are read as they lie: each element is widened
// once, not once for each window that sees it. Internal.
#pragma once

#include <algorithm>
#include <vector>

#include <thimble/core/bfloat16.h>
#include <thimble/core/kernels/elementwise/bf16_rows.h>
#include <thimble/core/kernels/gemm/bf16_pack.h>
#include <thimble/core/kernels/image/conv2d_geometry.h>
#include <thimble/core/kernels/scratch.h>

namespace thimble::kernels {

/// Where a convolution's windows lie in frames. Made once, used by several threads.
class Bf16Frames {
 public:
  /// Whether pairs of terms lie side by side, and none is missing in a last block.
  static bool serve(const Conv2dGeometry& g) {
    return g.group_in() % 2 == 0 && g.columns() % 32 == 0 && g.taps() > 1 && bf16_gemm_table().widened_left;
  }

  explicit Bf16Frames(const Conv2dGeometry& g)
      : g_(g), width_((g.out_width - 1) * g.stride_width + (g.kernel_width - 1) * g.dilation_width + 1) {
    for (int64_t kh = 0; kh < g.kernel_height; ++kh)
      for (int64_t kw = 0; kw < g.kernel_width; ++kw)
        for (int64_t c = 0; c < g.group_in(); c += 2)
          pairs_.push_back((kh * g.dilation_height * width_ + kw * g.dilation_width) * g.in_channels + c);
  }

  /// Output pixels [pixel, last) of a block that stays in the second level cache: some images, or some rows of one.
  struct Block {
    int64_t image, row, rows, last;
  };

  /// The block that begins with this pixel, which is in front of `end`; its images are in ScratchUse::columns then.
  Block load(const bfloat16* x, int64_t pixel, int64_t end) const {
    constexpr int64_t kFloats = 96 * 1024;
    const int64_t image = pixel / pixels(), row = pixel % pixels() / g_.out_width;
    const int64_t most_rows = std::max<int64_t>(1, (kFloats / row_floats() - reach()) / g_.stride_height + 1);
    if (row > 0 || most_rows < g_.out_height) {
      const Block block{image, row, std::min(most_rows, g_.out_height - row), 0};
      fill(x, image, 1, row, block.rows);
      return {image, row, block.rows, std::min(end, image * pixels() + (row + block.rows) * g_.out_width)};
    }
    const int64_t images =
        std::min(std::max<int64_t>(1, kFloats / floats(g_.out_height)), (end + pixels() - 1) / pixels() - image);
    fill(x, image, images, 0, g_.out_height);
    return {image, 0, g_.out_height, std::min(end, (image + images) * pixels())};
  }

  /// The windows of pixels of a block, from a term of a group on. Uses ScratchUse::numbers.
  PackedLeft windows(const Block& block, int64_t pixel, int64_t count, int64_t group, int64_t term) const {
    auto* rows = thread_scratch_of<int64_t>(ScratchUse::numbers, count);
    for (int64_t i = 0; i < count; ++i, ++pixel) {
      const int64_t image = pixel / pixels(), at = pixel % pixels();
      rows[i] = (image - block.image) * floats(block.rows) +
                (at / g_.out_width - block.row) * g_.stride_height * row_floats() +
                at % g_.out_width * g_.stride_width * g_.in_channels;
    }
    // The memory that load() has filled.
    const float* frames = thread_scratch_of<float>(ScratchUse::columns, 0);
    return {frames + group * g_.group_in(), 0, 1, rows, pairs_.data() + term / 2};
  }

 private:
  int64_t pixels() const { return g_.out_height * g_.out_width; }
  int64_t reach() const { return (g_.kernel_height - 1) * g_.dilation_height + 1; }
  int64_t row_floats() const { return width_ * g_.in_channels; }
  int64_t frame_rows(int64_t out_rows) const { return (out_rows - 1) * g_.stride_height + reach(); }
  int64_t floats(int64_t out_rows) const { return frame_rows(out_rows) * row_floats(); }

  void fill(const bfloat16* x, int64_t image, int64_t images, int64_t row, int64_t rows) const {
    auto* to = thread_scratch_of<float>(ScratchUse::columns, images * floats(rows));
    // Padding below 0 leaves out the image's first pixels.
    const int64_t c = g_.in_channels, left = std::clamp<int64_t>(g_.pad_left, 0, width_);
    const int64_t skipped = std::max<int64_t>(-g_.pad_left, 0);
    const int64_t inside = std::clamp<int64_t>(g_.in_width - skipped, 0, width_ - left), right = width_ - left - inside;
    for (int64_t i = image; i < image + images; ++i)
      for (int64_t r = 0; r < frame_rows(rows); ++r, to += row_floats()) {
        const int64_t y = row * g_.stride_height + r - g_.pad_top;
        if (y < 0 || y >= g_.in_height) {
          std::fill_n(to, row_floats(), 0.0f);
          continue;
        }
        std::fill_n(to, left * c, 0.0f);
        const bfloat16* from = x + ((i * g_.in_height + y) * g_.in_width + skipped) * c;
        if (inside > 0) bf16_rows().widen(reinterpret_cast<const uint16_t*>(from), inside * c, to + left * c);
        std::fill_n(to + (left + inside) * c, right * c, 0.0f);
      }
  }

  const Conv2dGeometry& g_;
  int64_t width_;  // of a frame
  std::vector<int64_t> pairs_;
};

}  // namespace thimble::kernels
