#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include <thimble/core/error.h>
#include <thimble/core/kernels/int8/int8_conv2d.h>
#include <thimble/core/kernels/rounding.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>

namespace thimble::kernels {

namespace {

constexpr int64_t kTilePixels = 384;  // handed to the product at a time
constexpr int64_t kSlack = 64;        // the kernels may read a little past the last segment
static_assert(kSlack >= kWidestDepthwisePanel);
constexpr int64_t kDepthwiseGrain = 60'000;  // multiply-adds worth another thread, of depthwise sums
constexpr int64_t kDepthwiseBytes = 256 * 1024;

// Multiply-adds worth another thread, of others: a few microseconds of them.
int64_t product_grain() {
  const CpuFeatures features = features_of(active_isa());
  const bool multiplies_bytes = has_all(features, CpuFeatures::avx_vnni) || has_all(features, CpuFeatures::avx512_vnni);
  return multiplies_bytes ? 400'000 : 100'000;
}

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

// Of the taps that remain, [channels][taps].
std::vector<int8_t> depthwise_weight(const Conv2dGeometry& g, const Taps& taps) {
  std::vector<int8_t> weight;
  weight.reserve(static_cast<size_t>(g.out_channels * g.taps()));
  for (int64_t c = 0; c < g.out_channels; ++c)
    for (int64_t tap = 0; tap < g.taps(); ++tap)
      weight.push_back(taps.at(c, 0, tap / g.kernel_width, tap % g.kernel_width));
  return weight;
}

// Rows of outputs are what threads divide, and an image of one row is the same memory as one of one column.
Conv2dGeometry with_rows_to_divide(const Conv2dGeometry& g) {
  return g.in_height == 1 && g.out_height == 1 && g.kernel_height == 1 ? transposed_geometry(g) : g;
}

Int8DepthwiseShape depthwise_shape(const Conv2dGeometry& g) {
  return {.channels = g.out_channels,
          .rows = {g.kernel_height, g.stride_height, g.dilation_height, g.pad_top, g.in_height},
          .columns = {g.kernel_width, g.stride_width, g.dilation_width, g.pad_left, g.in_width},
          .width = g.out_width};
}

// That of one image.
const Int8Epilogue& of_image(const Int8Epilogue& of_images, int64_t) { return of_images; }
Int8RowEpilogue of_image(Int8RowEpilogue of_images, int64_t image) {
  of_images.zero_point += image;
  of_images.scale += image;
  return of_images;
}

// An epilogue as that of a tile's pixels, which are the rows of its product.
template <typename Epilogue>
class TileEpilogue;

template <>
class TileEpilogue<Int8Epilogue> {
 public:
  explicit TileEpilogue(const Int8Epilogue& e) : e_(e) {}
  void set(int64_t, int64_t, int64_t) {}
  Int8Epilogue from_channel(int64_t channel) const {
    Int8Epilogue own = e_;
    own.bias += channel;
    own.multiplier += channel;
    return own;
  }

 private:
  const Int8Epilogue& e_;
};

template <>
class TileEpilogue<Int8RowEpilogue> {
 public:
  explicit TileEpilogue(const Int8RowEpilogue& of_images) : of_images_(of_images) {}
  // `count` pixels from `first` on are of this image.
  void set(int64_t first, int64_t count, int64_t image) {
    std::fill_n(zero_points_.begin() + first, count, of_images_.zero_point[image]);
    std::fill_n(scales_.begin() + first, count, of_images_.scale[image]);
  }
  Int8RowEpilogue from_channel(int64_t channel) const {
    return {.sums = of_images_.sums + channel,
            .step = of_images_.step + channel,
            .bias = of_images_.bias ? of_images_.bias + channel : nullptr,
            .zero_point = zero_points_.data(),
            .scale = scales_.data(),
            .relu = of_images_.relu};
  }

 private:
  const Int8RowEpilogue& of_images_;
  std::array<int32_t, kTilePixels> zero_points_;
  std::array<float, kTilePixels> scales_;
};

}  // namespace

Int8Conv2d::Int8Conv2d(const Conv2dGeometry& full, const int8_t* weight) : g_(full) {
  const Taps taps(full, g_, trim_taps(g_), weight);
  check(g_.columns() <= PackedInt8Weights::kMaxK, "Int8Conv2d: sums of ", g_.columns(), " products, ",
        PackedInt8Weights::kMaxK, " are the most");
  if (g_.depthwise()) {
    const std::vector<int8_t> own = depthwise_weight(g_, taps);
    g_ = with_rows_to_divide(g_);
    depthwise_.emplace(depthwise_shape(g_), own.data());
    for (int64_t c = 0; c < g_.out_channels; ++c)
      sums_.push_back(std::accumulate(own.begin() + c * g_.taps(), own.begin() + (c + 1) * g_.taps(), int32_t{0}));
  } else {
    // Segments are read four elements at a time: what that reads beyond an image's end must be in a frame.
    const bool over_reads = ConvFrames(g_).segment_elements() % 4 != 0;
    frames_.emplace(g_, over_reads ? ConvFrames::Layout::copied : ConvFrames::Layout::any);
    for (int64_t group = 0; group < g_.groups; ++group) {
      packed_.push_back(pack_group(g_, taps, group, frames_->segment_taps()));
      sums_.insert(sums_.end(), packed_.back().channel_sums().begin(), packed_.back().channel_sums().end());
    }
  }
}

// Rows of outputs that are worth another thread.
int64_t Int8Conv2d::grain_rows() const {
  const int64_t products = g_.out_width * g_.out_channels * (depthwise_ ? g_.taps() : g_.columns());
  return std::max<int64_t>(1, (depthwise_ ? kDepthwiseGrain : product_grain()) / products);
}

int64_t Int8Conv2d::scratch_bytes(int64_t batch) const {
  if (depthwise_) return batch * g_.in_channels + kSlack;
  return frames_->in_place() ? 0 : batch * frames_->elements(g_.out_height) + kSlack;
}

template <typename Epilogue, typename Out>
void Int8Conv2d::run_tile(const uint8_t* frames, int64_t first, int64_t count, const Epilogue& of_images,
                          Out* y) const {
  std::array<int64_t, kTilePixels> rows;
  TileEpilogue<Epilogue> tile(of_images);
  const int64_t step = frames_->pixel_step();
  const bool strided = frames_->images_merge() && frames_->segments().size() == 1;
  for (int64_t i = 0; i < count;) {
    const int64_t column = (first + i) % g_.out_width, row = (first + i) / g_.out_width;
    const int64_t n = std::min(g_.out_width - column, count - i), image = row / g_.out_height;
    const int64_t start = image * frames_->image_step() + row % g_.out_height * frames_->row_step() + column * step;
    if (!strided)
      for (int64_t j = 0; j < n; ++j) rows[static_cast<size_t>(i + j)] = start + j * step;
    tile.set(i, n, image);
    i += n;
  }
  const std::span<const int64_t> used(rows.data(), static_cast<size_t>(count));
  for (int64_t group = 0; group < g_.groups; ++group) {
    const uint8_t* x = frames + group * g_.group_in();
    const PackedInt8Weights& w = packed_[static_cast<size_t>(group)];
    const auto own = tile.from_channel(group * g_.group_out());
    Out* out = y + first * g_.out_channels + group * g_.group_out();
    if (strided)
      int8_gemm_serial(x + first * step, step, count, w, own, out, g_.out_channels);
    else
      int8_gemm_serial({x, used, frames_->segments()}, w, own, out, g_.out_channels);
  }
}

template <typename ZeroPoint>
const uint8_t* Int8Conv2d::framed(const uint8_t* x, int64_t batch, ZeroPoint&& zero_point, uint8_t* scratch) const {
  if (depthwise_) {
    for (int64_t i = 0; i < batch; ++i) std::fill_n(scratch + i * g_.in_channels, g_.in_channels, zero_point(i));
    std::memset(scratch + batch * g_.in_channels, 0, kSlack);
    return x;
  }
  if (frames_->in_place()) return x;
  const int64_t image = g_.in_height * g_.in_width * g_.in_channels, frame = frames_->elements(g_.out_height);
  // By those who will read it, and have made the image: from another core's cache it takes many times as long.
  parallel_for(batch * g_.out_height, grain_rows(), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end;) {
      const int64_t i = row / g_.out_height, first = row % g_.out_height;
      const int64_t last = std::min(g_.out_height, first + end - row);
      frames_->fill_part(x + i * image, zero_point(i), first, last, scratch + i * frame);
      row += last - first;
    }
  });
  std::memset(scratch + batch * frame, 0, kSlack);
  return scratch;
}

template <typename Epilogue, typename Out>
void Int8Conv2d::run_depthwise(const uint8_t* x, const uint8_t* outside, int64_t batch, const Epilogue& epilogue,
                               Out* y) const {
  const int64_t row_inputs = g_.in_width * g_.in_channels, row_outputs = g_.out_width * g_.out_channels;
  // Panels of channels pass one by one over so many rows that what they see stays in the second level cache: a
  // multiple of four, among which kernels share work.
  const int64_t fit = kDepthwiseBytes / std::max<int64_t>(1, g_.stride_height * row_inputs + row_outputs);
  const int64_t most = std::max<int64_t>(4, fit / 4 * 4);
  parallel_for(batch * g_.out_height, grain_rows(), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end;) {
      const int64_t image = row / g_.out_height, first = row % g_.out_height;
      const int64_t count = std::min({g_.out_height - first, end - row, most});
      depthwise_->run({x + image * g_.in_height * row_inputs, outside + image * g_.in_channels}, first, first + count,
                      of_image(epilogue, image), y + row * row_outputs);
      row += count;
    }
  });
}

template <typename Epilogue, typename Out>
void Int8Conv2d::run_tiles(const uint8_t* frames, const uint8_t* scratch, int64_t batch, const Epilogue& epilogue,
                           Out* y) const {
  if (depthwise_) return run_depthwise(frames, scratch, batch, epilogue, y);
  const int64_t pixels = batch * g_.out_height * g_.out_width;
  const int64_t grain = std::max<int64_t>(1, product_grain() / (g_.columns() * g_.out_channels));
  parallel_for(pixels, grain, [&](int64_t begin, int64_t end) {
    for (int64_t first = begin; first < end; first += kTilePixels)
      run_tile(frames, first, std::min(kTilePixels, end - first), epilogue, y);
  });
}

template <typename Out>
void Int8Conv2d::run(const uint8_t* x, int64_t batch, uint8_t zero_point, const Int8Epilogue& epilogue, Out* y,
                     uint8_t* scratch) const {
  run_tiles(framed(
                x, batch, [zero_point](int64_t) { return zero_point; }, scratch),
            scratch, batch, epilogue, y);
}

void Int8Conv2d::run(const uint8_t* x, int64_t batch, const Int8RowEpilogue& epilogue, float* y,
                     uint8_t* scratch) const {
  const auto zero_point = [&](int64_t i) { return static_cast<uint8_t>(epilogue.zero_point[i]); };
  run_tiles(framed(x, batch, zero_point, scratch), scratch, batch, epilogue, y);
}

template void Int8Conv2d::run(const uint8_t*, int64_t, uint8_t, const Int8Epilogue&, uint8_t*, uint8_t*) const;
template void Int8Conv2d::run(const uint8_t*, int64_t, uint8_t, const Int8Epilogue&, float*, uint8_t*) const;

}  // namespace thimble::kernels
