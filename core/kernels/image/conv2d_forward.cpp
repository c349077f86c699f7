// conv2d(): a matrix product whose rows are output pixels, a panel of output channels at a time.
//
// The order in which an output's products are added follows from the layer alone (term_blocks()). How pixels become
// tiles, blocks and pieces for threads depends on the batch, too, and on nothing but speed.
#include <algorithm>
#include <vector>

#include <thimble/core/kernels/gemm/small_gemm.h>
#include <thimble/core/kernels/image/conv2d.h>
#include <thimble/core/kernels/image/conv2d_weights.h>
#include <thimble/core/kernels/image/conv_images.h>
#include <thimble/core/kernels/image/depthwise.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

// Multiply-adds worth another thread.
constexpr int64_t kGrain = 100'000;
// Products of a cycle with vectors of 16: what the costs below are relative to.
constexpr double kProducts = 32;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// --- Blocks of terms.

// A part of an output's sum: `taps` taps from `tap` on of all channels, or one tap's channels [channel, channel +
// channels) of a group.
struct TermBlock {
  int64_t tap, taps, channel, channels;
};

// Terms of a block at most. 24 KB of weights, for a panel of channels, leave room in the first level cache; of sums
// longer than three such blocks weights come from the second level, since each block more is one more pass through the
// outputs and through the windows, whose short pieces no prefetcher sees coming.
template <typename T>
int64_t most_terms(const Conv2dGeometry& g) {
  constexpr int64_t kTerms = 24 * 1024 / (kGemmPanel * static_cast<int64_t>(sizeof(T)));
  return g.columns() <= 3 * kTerms ? kTerms : 4 * kTerms;
}

// Whole rows of the kernel if those are small enough, whole taps, or parts of a tap.
template <typename T>
std::vector<TermBlock> term_blocks(const Conv2dGeometry& g) {
  const int64_t most = most_terms<T>(g), channels = g.group_in();
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

// --- What is computed together.

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

// Whether a product's rows are one and the same pixel of several images, not pixels side by side.
bool tiles_over_images(const ConvFrames& frames) { return cycles_of_images(frames) < cycles_of_rows(frames); }

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

template <typename T>
struct Forward {
  const ConvFrames& frames;
  const T* x;
  const T* weight;
  T* y;
  const Epilogue<T>& epilogue;

  const Conv2dGeometry& g = frames.geometry();
  WeightPanels panels{g};
  std::vector<TermBlock> blocks = term_blocks<T>(g);
  FrameBlock block = frame_block(frames, sizeof(T));

  // Outputs that are computed together: `count` pixels, and that `products` times. Their windows begin at `windows`,
  // and `out` is the first's number among the pixels of y; steps lead to the next pixel and the next product.
  struct Pixels {
    int64_t count;
    const T* windows;
    int64_t out, window_step, out_step;
    int64_t products, product_window_step, product_out_step;
  };

  // The outputs that a thread computes: units (rows of all images, or images) and panels (of all groups).
  struct Piece {
    int64_t first, last, first_panel, last_panel;
  };

  // What comes before and after the sum, if that is added up in several blocks: an addend may be y itself, so it is
  // read first.
  Epilogue<T> epilogue_of(size_t b, int64_t channel, int64_t out) const {
    Epilogue<T> e = epilogue.at(channel, out);
    if (b > 0) e.bias = e.addend = nullptr;
    if (b + 1 < blocks.size()) e.lower = Epilogue<T>{}.lower, e.upper = Epilogue<T>{}.upper;
    return e;
  }

  // Adds a block of terms to a panel of channels of these pixels. The frame's taps lie `segment_taps` by side.
  void run(int64_t group, int64_t panel, size_t b, const Pixels& p) const {
    const TermBlock& terms = blocks[b];
    const int64_t channel = group * g.group_out() + panels.first_channel(panel), width = panels.width(panel);
    const int64_t side = frames.segment_taps();
    const bool rows = terms.tap % side == 0 && terms.taps % side == 0;
    const int64_t term = terms.tap * g.group_in() + terms.channel, out = p.out * g.out_channels + channel;
    small_gemm(
        SmallGemm<T>{.m = p.count,
                     .n = panels.channels(panel),
                     .k = rows ? side * terms.channels : terms.channels,
                     .a = p.windows + group * g.group_in() + terms.channel,
                     .a_row = p.window_step,
                     .a_col = 1,
                     .b = weight + panels.offset(group, panel) + term * width,
                     .ldb = width,
                     .c = y + out,
                     .ldc = p.out_step * g.out_channels,
                     .segments = rows ? frames.segments().data() + terms.tap / side : frames.taps().data() + terms.tap,
                     .segment_count = rows ? terms.taps / side : terms.taps,
                     .products = p.products,
                     .a_step = p.product_window_step,
                     .c_step = p.product_out_step * g.out_channels,
                     .accumulate = b > 0,
                     .epilogue = epilogue_of(b, channel, out)});
  }

  // Calls run_block(group, panel, block of terms) for the piece's weights: a block stays in cache for all pixels at
  // hand.
  template <typename F>
  void for_each_weight_block(const Piece& piece, F&& run_block) const {
    for (int64_t p = piece.first_panel; p < piece.last_panel; ++p)
      for (size_t b = 0; b < blocks.size(); ++b) run_block(p / panels.count(), p % panels.count(), b);
  }

  // Rows [first, last) of `count` images: a product for each row, or one for all if their windows lie equally far
  // apart.
  void run_rows(const Piece& piece, const T* windows, int64_t image, int64_t count, int64_t first, int64_t last) const {
    const int64_t rows = frames.rows_merge() ? last - first : 1;
    for_each_weight_block(piece, [&](int64_t group, int64_t panel, size_t b) {
      for (int64_t i = 0; i < count; ++i)
        run(group, panel, b,
            {.count = rows * g.out_width,
             .windows = windows + i * frames.image_step(),
             .out = ((image + i) * g.out_height + first) * g.out_width,
             .window_step = frames.pixel_step(),
             .out_step = 1,
             .products = (last - first) / rows,
             .product_window_step = frames.row_step(),
             .product_out_step = g.out_width});
    });
  }

  // `count` images, from number `image` on: a product for each pixel.
  void run_images(const Piece& piece, const T* windows, int64_t image, int64_t count) const {
    const int64_t pixels = g.out_height * g.out_width;
    for_each_weight_block(piece, [&](int64_t group, int64_t panel, size_t b) {
      for (int64_t row = 0; row < g.out_height; ++row)
        run(group, panel, b,
            {.count = count,
             .windows = windows + row * frames.row_step(),
             .out = image * pixels + row * g.out_width,
             .window_step = frames.image_step(),
             .out_step = pixels,
             .products = g.out_width,
             .product_window_step = frames.pixel_step(),
             .product_out_step = 1});
    });
  }

  // Units are rows.
  void run_rows(const Piece& piece) const {
    const Images<T> images(frames, x, block);
    for (int64_t at = piece.first; at < piece.last;) {
      const int64_t image = at / g.out_height, first = at % g.out_height, left = piece.last - at;
      const int64_t count = first == 0 ? std::clamp<int64_t>(left / g.out_height, 1, block.images) : 1;
      const int64_t last = std::min({g.out_height, first + left, first + block.rows});
      run_rows(piece, images.load(image, count, first, last), image, count, first, last);
      at += count * (last - first);
    }
  }

  // Units are images, in blocks of equal size.
  void run_images(const Piece& piece) const {
    const Images<T> images(frames, x, block);
    const int64_t all = piece.last - piece.first, count = ceil_div(all, block.images);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t first = piece.first + all * i / count, last = piece.first + all * (i + 1) / count;
      run_images(piece, images.load(first, last - first, 0, g.out_height), first, last - first);
    }
  }
};

// How the outputs are divided among threads: units into so many parts, panels into so many.
struct Division {
  int64_t units, panels;
};

// The one whose largest piece takes the fewest cycles, of its products and of reading its weights and images from
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

}  // namespace

ConvFrames forward_frames(const Conv2dGeometry& geometry) {
  const Conv2dGeometry g = flattened(geometry);
  ConvFrames frames(g);
  if (frames.rows_merge()) return frames;
  ConvFrames merged(g, ConvFrames::Layout::rows_merged);
  return fits(merged) && cycles(merged) < cycles(frames) ? merged : frames;
}

template <typename T>
void conv2d(const ConvFrames& frames, const T* x, const T* weight, T* y, const Epilogue<T>& epilogue) {
  const Conv2dGeometry& g = frames.geometry();
  if (g.depthwise()) return depthwise(g, x, weight, y, epilogue);
  const Forward<T> conv{frames, x, weight, y, epilogue};
  const bool by_images = tiles_over_images(frames) && conv.block.rows == g.out_height;
  const int64_t units = by_images ? g.batch : g.batch * g.out_height, panels = g.groups * conv.panels.count();
  const Division parts = divide(g, units, panels);
  parallel_for(parts.units * parts.panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t u = i / parts.panels, p = i % parts.panels;
      const typename Forward<T>::Piece piece{units * u / parts.units, units * (u + 1) / parts.units,
                                             panels * p / parts.panels, panels * (p + 1) / parts.panels};
      by_images ? conv.run_images(piece) : conv.run_rows(piece);
    }
  });
}

template void conv2d(const ConvFrames&, const float*, const float*, float*, const Epilogue<float>&);
template void conv2d(const ConvFrames&, const double*, const double*, double*, const Epilogue<double>&);

}  // namespace thimble::kernels
