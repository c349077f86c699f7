#include <random>
#include <vector>

#include <gtest/gtest.h>

#include <thimble/core/kernels/image/conv_frames.h>

namespace thimble::kernels {
namespace {

// Every cut of random convolutions' frames in two, and in rows.
TEST(ConvFrames, PartsOfAFrameAreTheFrame) {
  std::mt19937 rng(1);
  const auto below = [&](uint32_t n) { return static_cast<int64_t>(rng() % n); };
  for (int trial = 0; trial < 200; ++trial) {
    Conv2dGeometry g{};
    g.batch = 1, g.groups = 1, g.in_channels = 1 + below(3), g.out_channels = 2;
    g.in_height = 5 + below(6), g.in_width = 5 + below(6);
    g.kernel_height = 1 + below(4), g.kernel_width = 1 + below(4);
    g.stride_height = 1 + below(5), g.stride_width = 1 + below(5);
    g.dilation_height = 1 + below(2), g.dilation_width = 1 + below(2);
    g.pad_top = below(3), g.pad_left = below(3);
    g.out_height = (g.in_height + 2 * g.pad_top - (g.kernel_height - 1) * g.dilation_height - 1) / g.stride_height + 1;
    g.out_width = (g.in_width + 2 * g.pad_left - (g.kernel_width - 1) * g.dilation_width - 1) / g.stride_width + 1;
    if (g.out_height < 1 || g.out_width < 1) continue;
    for (const auto layout : {ConvFrames::Layout::copied, ConvFrames::Layout::rows_merged}) {
      const ConvFrames frames(g, layout);
      std::vector<uint8_t> image(static_cast<size_t>(g.in_height * g.in_width * g.in_channels));
      for (uint8_t& v : image) v = static_cast<uint8_t>(rng());
      std::vector<uint8_t> whole(static_cast<size_t>(frames.elements(g.out_height)), 1), parts(whole);
      frames.fill<uint8_t>(image.data(), 7, 0, g.out_height, whole.data());
      for (int64_t cut = 0; cut < g.out_height; ++cut) {
        std::fill(parts.begin(), parts.end(), uint8_t{1});
        if (cut > 0) frames.fill_part<uint8_t>(image.data(), 7, 0, cut, parts.data());
        frames.fill_part<uint8_t>(image.data(), 7, cut, g.out_height, parts.data());
        ASSERT_EQ(parts, whole) << "trial " << trial << ", cut " << cut;
      }
      std::fill(parts.begin(), parts.end(), uint8_t{1});
      for (int64_t row = 0; row < g.out_height; ++row)
        frames.fill_part<uint8_t>(image.data(), 7, row, row + 1, parts.data());
      ASSERT_EQ(parts, whole) << "trial " << trial;
    }
  }
}

}  // namespace
}  // namespace thimble::kernels
