#include <algorithm>

#include <thimble/core/kernels/gemm/small_gemm.h>
#include <thimble/core/kernels/image/conv2d.h>
#include <thimble/core/kernels/image/conv2d_plan.h>
#include <thimble/core/kernels/rounding.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

// Multiply-adds worth another thread.
constexpr int64_t kGrain = 100'000;
// Products of a cycle with vectors of 16: what the costs below are relative to.
constexpr double kProducts = 32;

// Terms of a block at most. 24 KB of weights, for a panel of channels, leave room in the first level cache; of sums
// longer than three such blocks weights come from the second level, since each block more is one more pass through the
// outputs and through the windows, whose short pieces no prefetcher sees coming.
int64_t most_terms(const Conv2dGeometry& g, int64_t element_size) {
  const int64_t terms = 24 * 1024 / (kGemmPanel * element_size);
  return g.columns() <= 3 * terms ? terms : 4 * terms;
}

// Cycles for each term and panel: a register tile takes one for each of its rows, but at least the latency of its
// additions, and one more to load weights.
double tile_cycles(int64_t rows) {
  constexpr int64_t kTile = 14, kLatency = 5;
  const int64_t tiles = ceil_div(rows, kTile);
  return static_cast<double>(std::max(rows, tiles * kLatency) + tiles);
}

// The size of a block of frames should be that of the weights, since a block's are read once for all weights, and the
// weights once for each block, from the second level cache if they fit.
constexpr int64_t kLeastBytes = 256 * 1024, kMostBytes = 512 * 1024;

int64_t weight_elements(const Conv2dGeometry& g) { return g.columns() * g.out_channels; }

double cycles_of_rows(const ConvFrames& frames) {
  const Conv2dGeometry& g = frames.geometry();
  return frames.rows_merge() ? tile_cycles(g.out_height * g.out_width)
                             : static_cast<double>(g.out_height) * tile_cycles(g.out_width);
}

double cycles_of_images(const ConvFrames& frames) {
  const Conv2dGeometry& g = frames.geometry();
  const FrameBlock block = frame_block(frames, sizeof(float));
  if (block.rows < g.out_height) return 1e30;
  const int64_t images = std::min(block.images, g.batch);
  return static_cast<double>(g.out_height * g.out_width) * tile_cycles(images) / static_cast<double>(images);
}

// A frame whose columns are separate is copied pixel by pixel, others row by row.
double copy_cycles(const ConvFrames& frames) {
  if (frames.in_place()) return 0;
  constexpr double kElements = 8, kCall = 8;
  const double elements = static_cast<double>(frames.elements(frames.geometry().out_height));
  const double pixels = elements / static_cast<double>(frames.geometry().in_channels);
  return elements / kElements + (frames.columns_separate() ? pixels * kCall : 0);
}

// For each image: products, and the copy if there is one.
double cycles(const ConvFrames& frames) {
  const Conv2dGeometry& g = frames.geometry();
  const double terms = static_cast<double>(g.columns() * g.groups * ceil_div(g.group_out(), kGemmPanel));
  return terms * std::min(cycles_of_rows(frames), cycles_of_images(frames)) + copy_cycles(frames);
}

// Pixels of a 1x1 kernel are independent of each other: all of the batch are one column of an image.
Conv2dGeometry flattened(const Conv2dGeometry& g) {
  const bool is_product = g.taps() == 1 && g.stride_height == 1 && g.stride_width == 1 && g.pad_top == 0 &&
                          g.pad_left == 0 && g.in_height == g.out_height && g.in_width == g.out_width;
  if (!is_product) return g;
  Conv2dGeometry flat = g;
  flat.in_height = flat.out_height = g.out_pixels();
  flat.batch = flat.in_width = flat.out_width = 1;
  return flat;
}

// Whether a frame of the rows of a whole image may be made.
bool fits(const ConvFrames& frames) {
  return frames.elements(frames.geometry().out_height) * static_cast<int64_t>(sizeof(float)) <= kMostBytes;
}

}  // namespace

std::vector<TermBlock> term_blocks(const Conv2dGeometry& g, int64_t element_size) {
  const int64_t most = most_terms(g, element_size), channels = g.group_in();
  const int64_t unit = g.kernel_width * channels <= most ? g.kernel_width : 1;
  std::vector<TermBlock> blocks;
  if (channels <= most) {
    const int64_t units = g.taps() / unit, count = ceil_div(units, most / (unit * channels));
    for (int64_t b = 0; b < count; ++b) {
      const int64_t first = units * b / count, last = units * (b + 1) / count;
      blocks.push_back({first * unit, (last - first) * unit, 0, channels});
    }
    return blocks;
  }
  const int64_t parts = ceil_div(channels, most);
  for (int64_t tap = 0; tap < g.taps(); ++tap)
    for (int64_t p = 0; p < parts; ++p)
      blocks.push_back({tap, 1, channels * p / parts, channels * (p + 1) / parts - channels * p / parts});
  return blocks;
}

FrameBlock frame_block(const ConvFrames& frames, int64_t element_size) {
  constexpr int64_t kTile = 14;
  const Conv2dGeometry& g = frames.geometry();
  const int64_t budget = std::clamp(weight_elements(g) * element_size, kLeastBytes, kMostBytes);
  const int64_t bytes = frames.image_step() * element_size;
  if (bytes <= kMostBytes)
    return {std::max({budget / bytes, std::min(kTile, kMostBytes / bytes), int64_t{1}}), g.out_height};
  const int64_t row_bytes = std::max<int64_t>(1, frames.elements(2) - frames.elements(1)) * element_size;
  const int64_t overlap = frames.elements(1) * element_size - row_bytes;
  return {1, std::clamp<int64_t>((budget - overlap) / row_bytes, 1, g.out_height)};
}

bool tiles_over_images(const ConvFrames& frames) { return cycles_of_images(frames) < cycles_of_rows(frames); }

// The division whose largest piece takes the fewest cycles, of its products and of reading its weights and images from
// beyond the second level cache. Panels are divided where there are few pixels: of a 7x7 image each thread reads a part
// of the weights rather than all.
Division divide(const Conv2dGeometry& g, int64_t units, int64_t panels) {
  constexpr double kBytesPerCycle = 8;
  const double products = static_cast<double>(g.out_pixels() * weight_elements(g)) / kProducts;
  const double weights = static_cast<double>(weight_elements(g) * 4) / kBytesPerCycle;
  const double images = static_cast<double>(g.batch * g.in_height * g.in_width * g.in_channels * 4) / kBytesPerCycle;
  const int64_t most =
      std::clamp<int64_t>(g.out_pixels() * weight_elements(g) / kGrain, 1, static_cast<int64_t>(num_threads()));
  auto share = [](int64_t n, int64_t parts) {
    return static_cast<double>(ceil_div(n, parts)) / static_cast<double>(n);
  };
  Division best{1, 1};
  double least = 1e300;
  for (int64_t p = 1; p <= std::min(most, panels); ++p) {
    const int64_t u = std::min(units, most / p);
    const double of_panels = share(panels, p), of_units = share(units, u);
    const double time = products * of_panels * of_units + weights * of_panels + images * of_units;
    if (time < least) least = time, best = {u, p};
  }
  return best;
}

ConvFrames forward_frames(const Conv2dGeometry& geometry) {
  const Conv2dGeometry g = flattened(geometry);
  ConvFrames frames(g);
  if (frames.rows_merge()) return frames;
  ConvFrames merged(g, ConvFrames::Layout::rows_merged);
  return fits(merged) && cycles(merged) < cycles(frames) ? merged : frames;
}

}  // namespace thimble::kernels
