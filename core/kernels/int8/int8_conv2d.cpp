#include <algorithm>
#include <array>
#include <cstring>

#include <thimble/core/kernels/int8/int8_conv2d.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr int kPanel = PackedInt8Weights::kPanel;
constexpr int64_t kTilePixels = 384;    // handed to the product at a time
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

PackedInt8Weights pack_group(const Conv2dGeometry& g, const Taps& taps, int64_t group, int64_t taps_per_segment) {
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
  const Taps taps(full, g_, trim_taps(g_), weight);
  // Segments are read four elements at a time, and channels 16 at a time: what that reads beyond an image's end must be
  // in a frame.
  const bool over_reads = g_.depthwise() ? g_.out_channels % kPanel != 0 : ConvFrames(g_).segment_elements() % 4 != 0;
  frames_.emplace(g_, over_reads ? ConvFrames::Layout::copied : ConvFrames::Layout::any);
  if (g_.depthwise()) {
    depthwise_ = pack_depthwise(g_, taps);
    for (int64_t c = 0; c < g_.out_channels; ++c) {
      int32_t sum = 0;
      for (int64_t tap = 0; tap < g_.taps(); ++tap) sum += taps.at(c, 0, tap / g_.kernel_width, tap % g_.kernel_width);
      sums_.push_back(sum);
    }
  } else {
    for (int64_t group = 0; group < g_.groups; ++group) {
      packed_.push_back(pack_group(g_, taps, group, frames_->segment_taps()));
      sums_.insert(sums_.end(), packed_.back().channel_sums().begin(), packed_.back().channel_sums().end());
    }
  }
}

int64_t Int8Conv2d::scratch_bytes(int64_t batch) const {
  return frames_->in_place() ? 0 : batch * frames_->elements(g_.out_height) + kSlack;
}

template <typename Out>
void Int8Conv2d::run_tile(const uint8_t* frames, int64_t first, int64_t count, const Int8Epilogue& epilogue,
                          Out* y) const {
  std::array<int64_t, kTilePixels> rows;
  const int64_t step = frames_->pixel_step();
  for (int64_t i = 0; i < count;) {
    const int64_t column = (first + i) % g_.out_width, row = (first + i) / g_.out_width;
    const int64_t n = std::min(g_.out_width - column, count - i);
    const int64_t start =
        row / g_.out_height * frames_->image_step() + row % g_.out_height * frames_->row_step() + column * step;
    for (int64_t j = 0; j < n; ++j) rows[static_cast<size_t>(i + j)] = start + j * step;
    i += n;
  }
  const std::span<const int64_t> used(rows.data(), static_cast<size_t>(count));
  Out* out = y + first * g_.out_channels;
  if (g_.depthwise())
    return int8_depthwise_serial({frames, used, frames_->segments()}, depthwise_.data(), g_.out_channels, epilogue, out,
                                 g_.out_channels);
  for (int64_t group = 0; group < g_.groups; ++group) {
    Int8Epilogue own = epilogue;
    own.bias += group * g_.group_out();
    own.multiplier += group * g_.group_out();
    int8_gemm_serial({frames + group * g_.group_in(), used, frames_->segments()}, packed_[static_cast<size_t>(group)],
                     own, out + group * g_.group_out(), g_.out_channels);
  }
}

template <typename Out>
void Int8Conv2d::run(const uint8_t* x, int64_t batch, uint8_t zero_point, const Int8Epilogue& epilogue, Out* y,
                     uint8_t* scratch) const {
  const int64_t image = g_.in_height * g_.in_width * g_.in_channels, frame = frames_->elements(g_.out_height);
  const uint8_t* frames = x;
  if (!frames_->in_place()) {
    frames = scratch;
    parallel_for(batch, std::max<int64_t>(1, kFrameGrain / frame), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        frames_->fill(x + i * image, zero_point, 0, g_.out_height, scratch + i * frame);
    });
    std::memset(scratch + batch * frame, 0, kSlack);
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
