#include <algorithm>
#include <vector>

#include <thimble/core/kernels/col2im.h>
#include <thimble/core/kernels/conv2d.h>
#include <thimble/core/kernels/conv_frames.h>
#include <thimble/core/kernels/depthwise.h>
#include <thimble/core/kernels/partial_sums.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/kernels/small_gemm.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

// Multiply-adds worth another thread.
constexpr int64_t kGrain = 100'000;
// Frames of several images, and columns, should stay in the second level cache.
constexpr int64_t kBlockBytes = 128 * 1024;

int64_t grain(int64_t multiply_adds_each) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, multiply_adds_each));
}

// Multiply-adds of one row of an image's outputs.
int64_t row_work(const Conv2dGeometry& g) { return g.out_width * g.columns() * g.out_channels; }

// Images as frames, some at a time: those that need no frame where they are, others copied.
template <typename T>
class Images {
 public:
  Images(const Conv2dGeometry& g, const ConvFrames& frames, const T* x, int64_t most)
      : g_(g),
        frames_(frames),
        x_(x),
        memory_(frames.in_place() ? nullptr : thread_scratch_of<T>(ScratchUse::columns, most * frames.elements())) {}

  /// What rows [first, last) of the outputs of `count` images see, as frames image_step() apart.
  const T* load(int64_t image, int64_t count, int64_t first, int64_t last) const {
    const T* from = x_ + image * g_.in_height * g_.in_width * g_.in_channels;
    if (frames_.in_place()) return from;
    for (int64_t i = 0; i < count; ++i)
      frames_.fill(from + i * g_.in_height * g_.in_width * g_.in_channels, T{0}, first, last,
                   memory_ + i * frames_.elements());
    return memory_;
  }

  static int64_t per_block(const ConvFrames& frames) {
    return std::max<int64_t>(1, kBlockBytes / (frames.elements() * static_cast<int64_t>(sizeof(T))));
  }

 private:
  const Conv2dGeometry& g_;
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
void for_each_block(const Conv2dGeometry& g, const ConvFrames& frames, F&& f) {
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
  const Conv2dGeometry& g;
  const ConvFrames& frames;
  const T *weight, *bias;
  T* y;
  bool relu;

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
    small_gemm(
        SmallGemm<T>{.m = pixels.count,
                     .n = block.columns,
                     .k = k,
                     .a = pixels.windows + block.group * g.group_in(),
                     .a_row = pixels.window_step,
                     .a_col = 1,
                     .b = weight + (block.group * g.columns() + block.segment * k) * g.group_out() + block.column,
                     .ldb = g.group_out(),
                     .c = y + pixels.out * g.out_channels + channel,
                     .ldc = pixels.out_step * g.out_channels,
                     .segments = frames.segments().data() + block.segment,
                     .segment_count = block.segments,
                     .products = pixels.products,
                     .a_step = pixels.product_window_step,
                     .c_step = pixels.product_out_step * g.out_channels,
                     .accumulate = block.segment > 0,
                     .bias = bias && is_last ? bias + channel : nullptr,
                     .relu = relu && is_last});
  }

  // Rows [first, last) of an image's outputs: a product for each row, or one for all if their windows lie equally far
  // apart.
  void run_rows(const T* frame, int64_t image, int64_t first, int64_t last) const {
    const int64_t rows = frames.rows_merge() ? last - first : 1;
    for_each_block<T>(g, frames, [&](const WeightBlock& block) {
      run(block, {.count = rows * g.out_width,
                  .windows = frame + first * frames.row_step(),
                  .out = (image * g.out_height + first) * g.out_width,
                  .window_step = frames.pixel_step(),
                  .out_step = 1,
                  .products = (last - first) / rows,
                  .product_window_step = frames.row_step(),
                  .product_out_step = g.out_width});
    });
  }

  // `count` images, from number `image` on: a product for each pixel.
  void run_images(const T* first_frame, int64_t image, int64_t count) const {
    const int64_t pixels = g.out_height * g.out_width;
    for_each_block<T>(g, frames, [&](const WeightBlock& block) {
      for (int64_t row = 0; row < g.out_height; ++row)
        run(block, {.count = count,
                    .windows = first_frame + row * frames.row_step(),
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
  parallel_for(g.batch * g.out_height, grain(row_work(g)), [&](int64_t begin, int64_t end) {
    const Images<T> images(g, conv.frames, x, 1);
    while (begin < end) {
      const int64_t image = begin / g.out_height, first = begin % g.out_height;
      const int64_t last = std::min(g.out_height, first + end - begin);
      conv.run_rows(images.load(image, 1, first, last), image, first, last);
      begin += last - first;
    }
  });
}

// The tile is one and the same pixel of several images.
template <typename T>
void conv2d_by_images(const Forward<T>& conv, const T* x) {
  const Conv2dGeometry& g = conv.g;
  const int64_t most = Images<T>::per_block(conv.frames);
  parallel_for(g.batch, grain(g.out_height * row_work(g)), [&](int64_t begin, int64_t end) {
    const Images<T> images(g, conv.frames, x, most);
    for (; begin < end; begin += most) {
      const int64_t count = std::min(most, end - begin);
      conv.run_images(images.load(begin, count, 0, g.out_height), begin, count);
    }
  });
}

}  // namespace

template <typename T>
void conv2d(const Conv2dGeometry& g, const T* x, const T* weight, const T* bias, T* y, bool relu) {
  if (g.depthwise()) return depthwise(g, x, weight, bias, y, relu);
  const ConvFrames frames(g);
  const Forward<T> conv{g, frames, weight, bias, y, relu};
  // Of few pixels low tiles could be made only.
  constexpr int64_t kShortRow = 8;
  const int64_t row = frames.rows_merge() ? g.out_height * g.out_width : g.out_width;
  if (row < kShortRow && g.batch > row)
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
        col2im(g, columns, g.columns(), group, first, count, dx);
      }
  });
}

namespace {

// Adds the weight gradient of images to sums [groups, columns(), group_out()], some images at a time.
template <typename T>
class WeightGradient {
 public:
  WeightGradient(const Conv2dGeometry& g, const ConvFrames& frames, const T* x, const T* dy)
      : g_(g), frames_(frames), dy_(dy), most_(Images<T>::per_block(frames)), images_(g, frames, x, most_) {
    // The sum over pixels runs along the longest rows of windows that lie equally far apart.
    const int64_t rows = frames.images_merge() ? most_ * g.out_height : frames.rows_merge() ? g.out_height : 1;
    run_pixels_ = rows * g.out_width;
    for (int64_t row = 0; row < most_ * g.out_height; row += rows)
      runs_.push_back(row / g.out_height * frames.image_step() + row % g.out_height * frames.row_step());
  }

  void add(int64_t begin, int64_t end, T* sums) const {
    for (; begin < end; begin += most_) add_block(begin, std::min(most_, end - begin), sums);
  }

 private:
  void add_block(int64_t image, int64_t count, T* sums) const {
    const int64_t pixels = g_.out_height * g_.out_width, segment = frames_.segment_elements();
    const T *x = images_.load(image, count, 0, g_.out_height), *dy = dy_ + image * pixels * g_.out_channels;
    const int64_t run = std::min(run_pixels_, count * pixels);
    for (int64_t group = 0; group < g_.groups; ++group)
      for (size_t s = 0; s < frames_.segments().size(); ++s)
        small_gemm(SmallGemm<T>{.m = segment,
                                .n = g_.group_out(),
                                .k = run,
                                .a = x + frames_.segments()[s] + group * g_.group_in(),
                                .a_row = 1,
                                .a_col = frames_.pixel_step(),
                                .b = dy + group * g_.group_out(),
                                .ldb = g_.out_channels,
                                .c = sums + (group * g_.columns() + static_cast<int64_t>(s) * segment) * g_.group_out(),
                                .ldc = g_.group_out(),
                                .segments = runs_.data(),
                                .segment_count = count * pixels / run,
                                .accumulate = true});
  }

  const Conv2dGeometry& g_;
  const ConvFrames& frames_;
  const T* dy_;
  int64_t most_, run_pixels_;
  Images<T> images_;
  std::vector<int64_t> runs_;
};

}  // namespace

template <typename T>
void conv2d_weight_gradient(const Conv2dGeometry& g, const T* x, const T* dy, T* dweight) {
  if (g.depthwise()) return depthwise_weight_gradient(g, x, dy, dweight);
  const ConvFrames frames(g);
  sum_in_pieces(
      g.batch, grain(g.out_height * row_work(g)), g.groups * g.columns() * g.group_out(), dweight,
      [&](int64_t begin, int64_t end, T* sums) { WeightGradient<T>(g, frames, x, dy).add(begin, end, sums); });
}

template void conv2d(const Conv2dGeometry&, const float*, const float*, const float*, float*, bool);
template void conv2d(const Conv2dGeometry&, const double*, const double*, const double*, double*, bool);
template void conv2d_input_gradient(const Conv2dGeometry&, const float*, const float*, float*);
template void conv2d_input_gradient(const Conv2dGeometry&, const double*, const double*, double*);
template void conv2d_weight_gradient(const Conv2dGeometry&, const float*, const float*, float*);
template void conv2d_weight_gradient(const Conv2dGeometry&, const double*, const double*, double*);

}  // namespace thimble::kernels
