#include <algorithm>
#include <array>
#include <cstring>

#include <thimble/core/kernels/im2col.h>
#include <thimble/core/kernels/int8_conv2d.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr int kPanel = PackedInt8Weights::kPanel;
constexpr int64_t kTilePixels = 192;    // handed to the product at a time
constexpr int64_t kSlack = 64;          // the kernels may read a little past the last segment
constexpr int64_t kGrain = 400'000;     // multiply-adds worth another thread
constexpr int64_t kFrameGrain = 65536;  // bytes

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// The weights of the remaining taps of one output channel, in the order of its segments.
class Taps {
 public:
  Taps(const Conv2dGeometry& full, const Conv2dGeometry& g, FirstTap first, const int8_t* weight)
      : full_(full), g_(g), first_(first), weight_(weight) {}

  int8_t at(int64_t out, int64_t in, int64_t kh, int64_t kw) const {
    return weight_[((out * g_.group_in() + in) * full_.kernel_height + first_.row + kh) * full_.kernel_width +
                   first_.column + kw];
  }

 private:
  const Conv2dGeometry &full_, &g_;
  FirstTap first_;
  const int8_t* weight_;
};

PackedInt8Weights pack_group(const Conv2dGeometry& g, const Taps& taps, int64_t group, bool whole_rows) {
  const int64_t taps_per_segment = whole_rows ? g.kernel_width : 1;
  const int64_t segments = g.taps() / taps_per_segment, k = round_up(taps_per_segment * g.group_in(), 4);
  std::vector<int8_t> rows(static_cast<size_t>(g.group_out() * segments * k));
  int8_t* row = rows.data();
  for (int64_t out = group * g.group_out(); out < (group + 1) * g.group_out(); ++out)
    for (int64_t segment = 0; segment < segments; ++segment, row += k)
      for (int64_t t = 0; t < taps_per_segment; ++t)
        for (int64_t in = 0; in < g.group_in(); ++in) {
          const int64_t tap = segment * taps_per_segment + t;
          row[t * g.group_in() + in] = taps.at(out, in, tap / g.kernel_width, tap % g.kernel_width);
        }
  return {rows.data(), g.group_out(), k, segments};
}

std::vector<int8_t> pack_depthwise(const Conv2dGeometry& g, const Taps& taps) {
  std::vector<int8_t> packed(static_cast<size_t>(round_up(g.out_channels, kPanel) * g.taps()));
  for (int64_t c = 0; c < g.out_channels; ++c)
    for (int64_t tap = 0; tap < g.taps(); ++tap)
      packed[static_cast<size_t>((c / kPanel * g.taps() + tap) * kPanel + c % kPanel)] =
          taps.at(c, 0, tap / g.kernel_width, tap % g.kernel_width);
  return packed;
}

}  // namespace

Int8Conv2d::Int8Conv2d(const Conv2dGeometry& full, const int8_t* weight) : g_(full) {
  const FirstTap first = trim_taps(g_);
  const Taps taps(full, g_, first, weight);
  frame_height_ = (g_.out_height - 1) * g_.stride_height + (g_.kernel_height - 1) * g_.dilation_height + 1;
  frame_width_ = (g_.out_width - 1) * g_.stride_width + (g_.kernel_width - 1) * g_.dilation_width + 1;
  // Rows of the kernel whose taps lie side by side are one segment each.
  const bool whole_rows = g_.dilation_width == 1 && g_.groups == 1;
  for (int64_t kh = 0; kh < g_.kernel_height; ++kh)
    for (int64_t kw = 0; kw < (whole_rows ? 1 : g_.kernel_width); ++kw)
      segments_.push_back((kh * g_.dilation_height * frame_width_ + kw * g_.dilation_width) * g_.in_channels);
  bool over_reads = false;
  if (g_.depthwise()) {
    depthwise_ = pack_depthwise(g_, taps);
    over_reads = g_.out_channels % kPanel != 0;
    for (int64_t c = 0; c < g_.out_channels; ++c) {
      int32_t sum = 0;
      for (int64_t tap = 0; tap < g_.taps(); ++tap) sum += taps.at(c, 0, tap / g_.kernel_width, tap % g_.kernel_width);
      sums_.push_back(sum);
    }
  } else {
    for (int64_t group = 0; group < g_.groups; ++group) {
      packed_.push_back(pack_group(g_, taps, group, whole_rows));
      sums_.insert(sums_.end(), packed_.back().channel_sums().begin(), packed_.back().channel_sums().end());
    }
    over_reads = (whole_rows ? g_.kernel_width : 1) * g_.group_in() % 4 != 0;
  }
  needs_frame_ =
      over_reads || g_.pad_top != 0 || g_.pad_left != 0 || frame_height_ > g_.in_height || frame_width_ != g_.in_width;
}

int64_t Int8Conv2d::scratch_bytes(int64_t batch) const { return needs_frame_ ? batch * frame_bytes() + kSlack : 0; }

void Int8Conv2d::fill_frame(const uint8_t* image, uint8_t zero_point, uint8_t* frame) const {
  const int64_t pixel = g_.in_channels, row_bytes = frame_width_ * pixel;
  // The columns of the image that are in the frame.
  const int64_t left = std::max<int64_t>(g_.pad_left, 0), skipped = std::max<int64_t>(-g_.pad_left, 0);
  const int64_t inside = std::clamp<int64_t>(g_.in_width - skipped, 0, frame_width_ - left);
  for (int64_t y = 0; y < frame_height_; ++y, frame += row_bytes) {
    const int64_t from = y - g_.pad_top;
    if (from < 0 || from >= g_.in_height) {
      std::memset(frame, zero_point, static_cast<size_t>(row_bytes));
      continue;
    }
    std::memset(frame, zero_point, static_cast<size_t>(left * pixel));
    std::memcpy(frame + left * pixel, image + (from * g_.in_width + skipped) * pixel,
                static_cast<size_t>(inside * pixel));
    std::memset(frame + (left + inside) * pixel, zero_point,
                static_cast<size_t>((frame_width_ - left - inside) * pixel));
  }
}

template <typename Out>
void Int8Conv2d::run_tile(const uint8_t* frames, int64_t first, int64_t count, const Int8Epilogue& epilogue,
                          Out* y) const {
  const int64_t height = needs_frame_ ? frame_height_ : g_.in_height;
  std::array<int64_t, kTilePixels> rows;
  const int64_t step = g_.stride_width * g_.in_channels;
  PixelCursor pixel(g_, first);
  for (int64_t i = 0; i < count;) {
    const int64_t n = std::min(pixel.left_in_row(), count - i);
    const int64_t start =
        ((pixel.image() * height + pixel.top() + g_.pad_top) * frame_width_ + pixel.left() + g_.pad_left) *
        g_.in_channels;
    for (int64_t j = 0; j < n; ++j) rows[static_cast<size_t>(i + j)] = start + j * step;
    pixel.advance(n);
    i += n;
  }
  const std::span<const int64_t> used(rows.data(), static_cast<size_t>(count));
  Out* out = y + first * g_.out_channels;
  if (g_.depthwise())
    return int8_depthwise_serial({frames, used, segments_}, depthwise_.data(), g_.out_channels, epilogue, out,
                                 g_.out_channels);
  for (int64_t group = 0; group < g_.groups; ++group) {
    Int8Epilogue own = epilogue;
    own.bias += group * g_.group_out();
    own.multiplier += group * g_.group_out();
    int8_gemm_serial({frames + group * g_.group_in(), used, segments_}, packed_[static_cast<size_t>(group)], own,
                     out + group * g_.group_out(), g_.out_channels);
  }
}

template <typename Out>
void Int8Conv2d::run(const uint8_t* x, int64_t batch, uint8_t zero_point, const Int8Epilogue& epilogue, Out* y,
                     uint8_t* scratch) const {
  const int64_t image_bytes = g_.in_height * g_.in_width * g_.in_channels;
  const uint8_t* frames = x;
  if (needs_frame_) {
    frames = scratch;
    parallel_for(batch, std::max<int64_t>(1, kFrameGrain / frame_bytes()), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) fill_frame(x + i * image_bytes, zero_point, scratch + i * frame_bytes());
    });
    std::memset(scratch + batch * frame_bytes(), 0, kSlack);
  }
  const int64_t pixels = batch * g_.out_height * g_.out_width;
  const int64_t grain = std::max<int64_t>(1, kGrain / (g_.columns() * g_.out_channels));
  parallel_for(pixels, grain, [&](int64_t begin, int64_t end) {
    for (int64_t first = begin; first < end; first += kTilePixels)
      run_tile(frames, first, std::min(kTilePixels, end - first), epilogue, y);
  });
}

template void Int8Conv2d::run(const uint8_t*, int64_t, uint8_t, const Int8Epilogue&, uint8_t*, uint8_t*) const;
template void Int8Conv2d::run(const uint8_t*, int64_t, uint8_t, const Int8Epilogue&, float*, uint8_t*) const;

}  // namespace thimble::kernels
