#include <random>
#include <vector>

#include <gtest/gtest.h>

#include <thimble/core/kernels/image/conv_frames.h>

namespace thimble::kernels {
namespace {

constexpr uint8_t kPadding = 7, kUntouched = 255;  // images have neither

struct RandomConvolution {
  explicit RandomConvolution(std::mt19937& rng) {
    const auto below = [&](uint32_t n) { return static_cast<int64_t>(rng() % n); };
    g.batch = 1, g.groups = 1, g.in_channels = 1 + below(3), g.out_channels = 2;
    g.in_height = 5 + below(6), g.in_width = 5 + below(6);
    g.kernel_height = 1 + below(4), g.kernel_width = 1 + below(4);
    g.stride_height = 1 + below(5), g.stride_width = 1 + below(5);
    g.dilation_height = 1 + below(2), g.dilation_width = 1 + below(2);
    g.pad_top = below(3), g.pad_left = below(3);
    g.out_height = (g.in_height + 2 * g.pad_top - (g.kernel_height - 1) * g.dilation_height - 1) / g.stride_height + 1;
    g.out_width = (g.in_width + 2 * g.pad_left - (g.kernel_width - 1) * g.dilation_width - 1) / g.stride_width + 1;
    image.resize(static_cast<size_t>(g.in_height * g.in_width * g.in_channels));
    for (uint8_t& v : image) v = static_cast<uint8_t>(10 + rng() % 200);
  }
  bool is_possible() const { return g.out_height >= 1 && g.out_width >= 1; }

  Conv2dGeometry g{};
  std::vector<uint8_t> image;
};

// Where rows [cuts[i], cuts[i + 1]) of outputs fill a frame of their own: how many have filled each element, and with
// what.
struct FilledParts {
  FilledParts(const RandomConvolution& c, const ConvFrames& frames, const std::vector<int64_t>& cuts)
      : count(static_cast<size_t>(frames.elements(c.g.out_height)), 0), frame(count.size(), kUntouched) {
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
      std::vector<uint8_t> part(frame.size(), kUntouched);
      frames.fill_part(c.image.data(), kPadding, cuts[i], cuts[i + 1], part.data());
      for (size_t j = 0; j < part.size(); ++j) {
        if (part[j] == kUntouched) continue;
        ++count[j];
        frame[j] = part[j];
      }
    }
  }

  std::vector<int> count;
  std::vector<uint8_t> frame;
};

// Of every cut of random convolutions' frames in two, and in rows, each element is filled by exactly one part: threads
// fill them at once.
TEST(ConvFrames, PartsOfAFrameAreTheFrame) {
  std::mt19937 rng(1);
  for (int trial = 0; trial < 200; ++trial) {
    const RandomConvolution c(rng);
    if (!c.is_possible()) continue;
    for (const auto layout : {ConvFrames::Layout::copied, ConvFrames::Layout::rows_merged}) {
      const ConvFrames frames(c.g, layout);
      std::vector<uint8_t> whole(static_cast<size_t>(frames.elements(c.g.out_height)), kUntouched);
      frames.fill(c.image.data(), kPadding, 0, c.g.out_height, whole.data());
      std::vector<int> once;
      for (const uint8_t v : whole) once.push_back(v == kUntouched ? 0 : 1);  // between planes of rows nothing is
      const auto expect_whole = [&](const std::vector<int64_t>& cuts) {
        const FilledParts parts(c, frames, cuts);
        EXPECT_EQ(parts.frame, whole) << "trial " << trial << ", cut at " << cuts[1];
        EXPECT_EQ(parts.count, once) << "trial " << trial << ", cut at " << cuts[1];
      };
      std::vector<int64_t> rows{0};
      for (int64_t cut = 1; cut <= c.g.out_height; ++cut) {
        if (cut < c.g.out_height) expect_whole({0, cut, c.g.out_height});
        rows.push_back(cut);
      }
      expect_whole(rows);
    }
  }
}

}  // namespace
}  // namespace thimble::kernels
