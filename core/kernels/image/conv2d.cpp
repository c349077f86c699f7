#include <algorithm>
#include <vector>

#include <thimble/core/kernels/gemm/small_gemm.h>
#include <thimble/core/kernels/image/col2im.h>
#include <thimble/core/kernels/image/conv2d.h>
#include <thimble/core/kernels/image/conv_frames.h>
#include <thimble/core/kernels/image/depthwise.h>
#include <thimble/core/kernels/reduce/partial_sums.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

// Multiply-adds worth another thread.
constexpr int64_t kGrain = 100'000;
// Frames of several images, and columns, should stay in the second level cache; so should a large image's.
constexpr int64_t kBlockBytes = 128 * 1024, kFrameBytes = 512 * 1024;

int64_t grain(int64_t multiply_adds_each) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, multiply_adds_each));
}

// Multiply-adds of one row of an image's outputs.
int64_t row_work(const Conv2dGeometry& g) { return g.out_width * g.columns() * g.out_channels; }

// How much is made into frames at a time: several images, or rows of one.
struct FrameBlock {
  int64_t images, rows;
};

template <typename T>
FrameBlock frame_block(const ConvFrames& frames) {
  constexpr int64_t kTile = 14, kSize = static_cast<int64_t>(sizeof(T));
  const int64_t rows = frames.geometry().out_height, bytes = frames.elements(rows) * kSize;
  if (bytes <= kFrameBytes || frames.in_place())
    return {std::max({kBlockBytes / bytes, std::min(kTile, kFrameBytes / bytes), int64_t{1}}), rows};
  const int64_t row_bytes = std::max<int64_t>(1, frames.row_step() * kSize);
  const int64_t overlap = frames.elements(1) * kSize - row_bytes;
  return {1, std::clamp<int64_t>((kFrameBytes - overlap) / row_bytes, 1, rows)};
}

// Images as frames, a block at a time: those that need no frame where they are, others copied.
template <typename T>
class Images {
 public:
  Images(const ConvFrames& frames, const T* x, const FrameBlock& most)
      : frames_(frames),
        x_(x),
        memory_(frames.in_place()
                    ? nullptr
                    : thread_scratch_of<T>(ScratchUse::columns, most.images * frames.elements(most.rows))) {}

  /// The first window of rows [first, last) of the outputs of `count` images, image_step() apart.
  const T* load(int64_t image, int64_t count, int64_t first, int64_t last) const {
    const Conv2dGeometry& g = frames_.geometry();
    const int64_t elements = g.in_height * g.in_width * g.in_channels;
    const T* from = x_ + image * elements;
    if (frames_.in_place()) return from + first * frames_.row_step();
    for (int64_t i = 0; i < count; ++i)
      frames_.fill(from + i * elements, T{0}, first, last, memory_ + i * frames_.image_step());
    return memory_;
  }

 private:
  const ConvFrames& frames_;
  const T* x_;
  T* memory_;
};

// A part of the weights: columns (output channels) of a group and segments of the windows.
struct WeightBlock {
  int64_t group, column, columns, segment, segments;
};

// Calls f for blocks of weights that leave room in the first level cache, segment by segment for each panel of columns.
template <typename T, typename F>
void for_each_block(const ConvFrames& frames, F&& f) {
  const Conv2dGeometry& g = frames.geometry();
  constexpr int64_t kWeightBytes = 24 * 1024;
  const int64_t all = std::ssize(frames.segments());
  const int64_t segment_bytes = frames.segment_elements() * kGemmPanel * static_cast<int64_t>(sizeof(T));
  const int64_t most = std::clamp<int64_t>(kWeightBytes / std::max<int64_t>(1, segment_bytes), 1, all);
  const int64_t blocks = (all + most - 1) / most;
  for (int64_t group = 0; group < g.groups; ++group)
    for (int64_t column = 0; column < g.group_out(); column += kGemmPanel)
      for (int64_t b = 0; b < blocks; ++b)
        f(WeightBlock{group, column, std::min(kGemmPanel, g.group_out() - column), all * b / blocks,
                      all * (b + 1) / blocks - all * b / blocks});
}

template <typename T>
struct Forward {
  const ConvFrames& frames;
  const Conv2dGeometry& g;
  const T* weight;
  T* y;
  const Epilogue<T>& epilogue;

  // Outputs that are computed together: `count` pixels, and that `products` times. Their windows begin at `windows`,
  // and `out` is the first's number among the pixels of y; steps lead to the next pixel and the next product.
  struct Pixels {
    int64_t count;
    const T* windows;
    int64_t out, window_step, out_step;
    int64_t products, product_window_step, product_out_step;
  };

  // What a block of weights adds to them.
  void run(const WeightBlock& block, const Pixels& pixels) const {
    const int64_t k = frames.segment_elements(), channel = block.group * g.group_out() + block.column;
    const bool is_last = block.segment + block.segments == std::ssize(frames.segments());
    const int64_t out = pixels.out * g.out_channels + channel;
    small_gemm(
        SmallGemm<T>{.m = pixels.count,
                     .n = block.columns,
                     .k = k,
                     .a = pixels.windows + block.group * g.group_in(),
                     .a_row = pixels.window_step,
                     .a_col = 1,
                     .b = weight + (block.group * g.columns() + block.segment * k) * g.group_out() + block.column,
                     .ldb = g.group_out(),
                     .c = y + out,
                     .ldc = pixels.out_step * g.out_channels,
                     .segments = frames.segments().data() + block.segment,
                     .segment_count = block.segments,
                     .products = pixels.products,
                     .a_step = pixels.product_window_step,
                     .c_step = pixels.product_out_step * g.out_channels,
                     .accumulate = block.segment > 0,
                     .epilogue = is_last ? epilogue.at(channel, out) : Epilogue<T>{}});
  }

  // Rows [first, last) of an image's outputs: a product for each row, or one for all if their windows lie equally far
  // apart.
  void run_rows(const T* windows, int64_t image, int64_t first, int64_t last) const {
    const int64_t rows = frames.rows_merge() ? last - first : 1;
    for_each_block<T>(frames, [&](const WeightBlock& block) {
      run(block, {.count = rows * g.out_width,
                  .windows = windows,
                  .out = (image * g.out_height + first) * g.out_width,
                  .window_step = frames.pixel_step(),
                  .out_step = 1,
                  .products = (last - first) / rows,
                  .product_window_step = frames.row_step(),
                  .product_out_step = g.out_width});
    });
  }

  // `count` images, from number `image` on: a product for each pixel.
  void run_images(const T* windows, int64_t image, int64_t count) const {
    const int64_t pixels = g.out_height * g.out_width;
    for_each_block<T>(frames, [&](const WeightBlock& block) {
      for (int64_t row = 0; row < g.out_height; ++row)
        run(block, {.count = count,
                    .windows = windows + row * frames.row_step(),
                    .out = image * pixels + row * g.out_width,
                    .window_step = frames.image_step(),
                    .out_step = pixels,
                    .products = g.out_width,
                    .product_window_step = frames.pixel_step(),
                    .product_out_step = 1});
    });
  }
};

// The tile of a product is pixels side by side in a row.
template <typename T>
void conv2d_by_rows(const Forward<T>& conv, const T* x) {
  const Conv2dGeometry& g = conv.g;
  const FrameBlock block{1, frame_block<T>(conv.frames).rows};
  parallel_for(g.batch * g.out_height, grain(row_work(g)), [&](int64_t begin, int64_t end) {
    const Images<T> images(conv.frames, x, block);
    while (begin < end) {
      const int64_t image = begin / g.out_height, first = begin % g.out_height;
      const int64_t last = std::min({g.out_height, first + end - begin, first + block.rows});
      conv.run_rows(images.load(image, 1, first, last), image, first, last);
      begin += last - first;
    }
  });
}

// The tile is one and the same pixel of several images.
template <typename T>
void conv2d_by_images(const Forward<T>& conv, const T* x) {
  const Conv2dGeometry& g = conv.g;
  const FrameBlock block = frame_block<T>(conv.frames);
  parallel_for(g.batch, grain(g.out_height * row_work(g)), [&](int64_t begin, int64_t end) {
    const Images<T> images(conv.frames, x, block);
    for (; begin < end; begin += block.images) {
      const int64_t count = std::min(block.images, end - begin);
      conv.run_images(images.load(begin, count, 0, g.out_height), begin, count);
    }
  });
}

// Rows of fewer pixels make low tiles only.
constexpr int64_t kShortRow = 8;

bool has_short_rows(const ConvFrames& frames) {
  return !frames.rows_merge() && frames.geometry().out_width < kShortRow;
}

}  // namespace

ConvFrames forward_frames(const Conv2dGeometry& g) {
  ConvFrames frames(g);
  const bool few_images = g.batch <= g.out_width;
  return has_short_rows(frames) && few_images && g.stride_height == 1 ? ConvFrames(g, ConvFrames::Layout::rows_merged)
                                                                      : frames;
}

template <typename T>
void conv2d(const ConvFrames& frames, const T* x, const T* weight, T* y, const Epilogue<T>& epilogue) {
  const Conv2dGeometry& g = frames.geometry();
  if (g.depthwise()) return depthwise(g, x, weight, y, epilogue);
  const Forward<T> conv{frames, g, weight, y, epilogue};
  const bool is_small = g.out_height * g.out_width < kShortRow || has_short_rows(frames);
  if (is_small && g.batch > g.out_width && frame_block<T>(frames).rows == g.out_height)
    conv2d_by_images(conv, x);
  else
    conv2d_by_rows(conv, x);
}

template <typename T>
void conv2d_input_gradient(const Conv2dGeometry& g, const T* dy, const T* weight, T* dx) {
  if (g.depthwise()) return depthwise_input_gradient(g, dy, weight, dx);
  const int64_t pixels = g.out_height * g.out_width, image = g.in_height * g.in_width * g.in_channels;
  const int64_t row_bytes = g.columns() * static_cast<int64_t>(sizeof(T));
  const int64_t block = std::clamp<int64_t>(kBlockBytes / std::max<int64_t>(1, row_bytes), 12, 384);
  // Windows overlap within an image, so a thread takes whole images.
  parallel_for(g.batch, grain(g.out_height * row_work(g)), [&](int64_t begin, int64_t end) {
    T* columns = thread_scratch_of<T>(ScratchUse::columns, block * g.columns());
    std::fill(dx + begin * image, dx + end * image, T{0});
    for (int64_t group = 0; group < g.groups; ++group)
      for (int64_t first = begin * pixels; first < end * pixels; first += block) {
        const int64_t count = std::min(block, end * pixels - first);
        small_gemm(SmallGemm<T>{.m = count,
                                .n = g.columns(),
                                .k = g.group_out(),
                                .a = dy + first * g.out_channels + group * g.group_out(),
                                .a_row = g.out_channels,
                                .a_col = 1,
                                .b = weight + group * g.group_out() * g.columns(),
                                .ldb = g.columns(),
                                .c = columns,
                                .ldc = g.columns()});
        col2im(g, columns, group, first, count, dx);
      }
  });
}

namespace {

// Adds the weight gradient of images to sums [groups, columns(), group_out()], a block at a time.
template <typename T>
class WeightGradient {
 public:
  WeightGradient(const ConvFrames& frames, const T* x, const T* dy)
      : frames_(frames), g_(frames.geometry()), dy_(dy), block_(frame_block<T>(frames)), images_(frames, x, block_) {
    // The sum over pixels runs along the longest rows of windows that lie equally far apart.
    const bool whole_block = frames.rows_merge() && (block_.images == 1 || frames.images_merge());
    run_rows_ = whole_block ? block_.images * block_.rows : frames.rows_merge() ? block_.rows : 1;
    for (int64_t row = 0; row < block_.images * block_.rows; row += run_rows_)
      runs_.push_back(row / block_.rows * frames.image_step() + row % block_.rows * frames.row_step());
  }

  void add(int64_t begin, int64_t end, T* sums) const {
    constexpr int64_t kMostPixels = 256 * kGemmChain;
    SumInParts<T> parts(sums, g_.groups * g_.columns() * g_.group_out(), kMostPixels);
    for (int64_t image = begin; image < end; image += block_.images) {
      const int64_t count = std::min(block_.images, end - image);
      for (int64_t row = 0; row < g_.out_height; row += block_.rows) {
        const int64_t last = std::min(row + block_.rows, g_.out_height);
        add_block(image, count, row, last, parts.next(count * (last - row) * g_.out_width));
      }
    }
    parts.finish();
  }

 private:
  void add_block(int64_t image, int64_t count, int64_t first, int64_t last, T* sums) const {
    const T *windows = images_.load(image, count, first, last),
            *dy = dy_ + (image * g_.out_height + first) * g_.out_width * g_.out_channels;
    const int64_t segment = frames_.segment_elements(), rows = count * (last - first);
    const int64_t run_rows = std::min(run_rows_, rows);
    for (int64_t group = 0; group < g_.groups; ++group)
      for (size_t s = 0; s < frames_.segments().size(); ++s)
        small_gemm(SmallGemm<T>{.m = segment,
                                .n = g_.group_out(),
                                .k = run_rows * g_.out_width,
                                .a = windows + frames_.segments()[s] + group * g_.group_in(),
                                .a_row = 1,
                                .a_col = frames_.pixel_step(),
                                .b = dy + group * g_.group_out(),
                                .ldb = g_.out_channels,
                                .c = sums + (group * g_.columns() + static_cast<int64_t>(s) * segment) * g_.group_out(),
                                .ldc = g_.group_out(),
                                .segments = runs_.data(),
                                .segment_count = rows / run_rows,
                                .accumulate = true});
  }

  const ConvFrames& frames_;
  const Conv2dGeometry& g_;
  const T* dy_;
  FrameBlock block_;
  Images<T> images_;
  int64_t run_rows_;
  std::vector<int64_t> runs_;
};

}  // namespace

template <typename T>
void conv2d_weight_gradient(const Conv2dGeometry& g, const T* x, const T* dy, T* dweight) {
  if (g.depthwise()) return depthwise_weight_gradient(g, x, dy, dweight);
  const ConvFrames frames(g);
  sum_in_shards(g.batch, grain(g.out_height * row_work(g)), g.groups * g.columns() * g.group_out(), dweight,
                [&](int64_t begin, int64_t end, T* sums) { WeightGradient<T>(frames, x, dy).add(begin, end, sums); });
}

template void conv2d(const ConvFrames&, const float*, const float*, float*, const Epilogue<float>&);
template void conv2d(const ConvFrames&, const double*, const double*, double*, const Epilogue<double>&);
template void conv2d_input_gradient(const Conv2dGeometry&, const float*, const float*, float*);
template void conv2d_input_gradient(const Conv2dGeometry&, const double*, const double*, double*);
template void conv2d_weight_gradient(const Conv2dGeometry&, const float*, const float*, float*);
template void conv2d_weight_gradient(const Conv2dGeometry&, const double*, const double*, double*);

}  // namespace thimble::kernels
