#include <vector>

#include <thimble/core/kernels/conv2d.h>
#include <thimble/core/kernels/depthwise.h>
#include <thimble/core/kernels/im2col.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/kernels/small_gemm.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

// Multiply-adds worth another thread.
constexpr int64_t kGrain = 100'000;

// Pixels whose columns stay in the second level cache.
template <typename T>
int64_t tile_pixels(const Conv2dGeometry& g) {
  constexpr int64_t kTileBytes = 96 * 1024;
  const int64_t fitting = kTileBytes / (std::max<int64_t>(g.columns(), 1) * static_cast<int64_t>(sizeof(T)));
  return std::clamp<int64_t>(fitting / 12 * 12, 12, 384);
}

int64_t grain_pixels(const Conv2dGeometry& g) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, g.columns() * g.out_channels));
}

// The columns of a tile of pixels, as the left operand of a product. A 1x1 convolution's are the image itself.
template <typename T>
class Columns {
 public:
  Columns(const Conv2dGeometry& g, const T* x, T* memory)
      : g_(g),
        x_(x),
        memory_(memory),
        in_place_(g.taps() == 1 && g.stride_height == 1 && g.stride_width == 1 && g.in_height == g.out_height &&
                  g.in_width == g.out_width),
        transposed_(g.in_channels == 1 && g.stride_width == 1 && !in_place_) {}

  void make(int64_t group, int64_t first, int64_t count) {
    if (in_place_) {
      data_ = x_ + first * g_.in_channels + group * g_.group_in();
      pixel_stride_ = g_.in_channels;
      return;
    }
    data_ = memory_;
    if (transposed_) {
      im2col_transposed(g_, x_, first, count, count, memory_);
      pixel_stride_ = 1;
      column_stride_ = count;
    } else {
      im2col(g_, x_, group, first, count, T{0}, memory_);
      pixel_stride_ = g_.columns();
    }
  }

  const T* data() const { return data_; }
  int64_t pixel_stride() const { return pixel_stride_; }
  int64_t column_stride() const { return column_stride_; }

 private:
  const Conv2dGeometry& g_;
  const T* x_;
  T* memory_;
  bool in_place_, transposed_;
  const T* data_ = nullptr;
  int64_t pixel_stride_ = 0, column_stride_ = 1;
};

// Calls tile(group, first pixel, pixels) for all tiles of a range of pixels.
template <typename Tile>
void for_each_tile(const Conv2dGeometry& g, int64_t begin, int64_t end, int64_t size, Tile&& tile) {
  for (int64_t group = 0; group < g.groups; ++group)
    for (int64_t first = begin; first < end; first += size) tile(group, first, std::min(size, end - first));
}

}  // namespace

template <typename T>
void conv2d(const Conv2dGeometry& g, const T* x, const T* weight, const T* bias, T* y, bool relu) {
  if (g.depthwise()) return depthwise(g, x, weight, bias, y, relu);
  const int64_t size = tile_pixels<T>(g);
  parallel_for(g.out_pixels(), grain_pixels(g), [&](int64_t begin, int64_t end) {
    Columns<T> columns(g, x, thread_scratch_of<T>(ScratchUse::columns, size * g.columns()));
    for_each_tile(g, begin, end, size, [&](int64_t group, int64_t first, int64_t count) {
      columns.make(group, first, count);
      small_gemm(SmallGemm<T>{.m = count,
                              .n = g.group_out(),
                              .k = g.columns(),
                              .a = columns.data(),
                              .a_row = columns.pixel_stride(),
                              .a_col = columns.column_stride(),
                              .b = weight + group * g.columns() * g.group_out(),
                              .ldb = g.group_out(),
                              .c = y + first * g.out_channels + group * g.group_out(),
                              .ldc = g.out_channels,
                              .bias = bias ? bias + group * g.group_out() : nullptr,
                              .relu = relu});
    });
  });
}

template <typename T>
void conv2d_input_gradient(const Conv2dGeometry& g, const T* dy, const T* weight, T* dx) {
  if (g.depthwise()) return depthwise_input_gradient(g, dy, weight, dx);
  const int64_t size = tile_pixels<T>(g), pixels = g.out_height * g.out_width;
  const int64_t image = g.in_height * g.in_width * g.in_channels;
  // Windows overlap within an image, so a thread takes whole images.
  parallel_for(g.batch, std::max<int64_t>(1, grain_pixels(g) / std::max<int64_t>(1, pixels)),
               [&](int64_t begin, int64_t end) {
                 T* columns = thread_scratch_of<T>(ScratchUse::columns, size * g.columns());
                 std::fill(dx + begin * image, dx + end * image, T{0});
                 for_each_tile(g, begin * pixels, end * pixels, size, [&](int64_t group, int64_t first, int64_t count) {
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
                 });
               });
}

template <typename T>
void conv2d_weight_gradient(const Conv2dGeometry& g, const T* x, const T* dy, T* dweight) {
  if (g.depthwise()) return depthwise_weight_gradient(g, x, dy, dweight);
  const int64_t size = tile_pixels<T>(g), weights = g.groups * g.columns() * g.group_out();
  // One sum for each piece, added in order afterwards: the result depends on the number of threads, not on timing.
  const int64_t pieces = std::clamp<int64_t>(g.out_pixels() / std::max(grain_pixels(g), size), 1, num_threads());
  std::vector<T> partial(static_cast<size_t>((pieces - 1) * weights));
  parallel_for(pieces, 1, [&](int64_t first_piece, int64_t last_piece) {
    Columns<T> columns(g, x, thread_scratch_of<T>(ScratchUse::columns, size * g.columns()));
    for (int64_t piece = first_piece; piece < last_piece; ++piece) {
      T* sums = piece == 0 ? dweight : partial.data() + (piece - 1) * weights;
      std::fill_n(sums, weights, T{0});
      const int64_t begin = g.out_pixels() * piece / pieces, end = g.out_pixels() * (piece + 1) / pieces;
      for_each_tile(g, begin, end, size, [&](int64_t group, int64_t first, int64_t count) {
        columns.make(group, first, count);
        small_gemm(SmallGemm<T>{.m = g.columns(),
                                .n = g.group_out(),
                                .k = count,
                                .a = columns.data(),
                                .a_row = columns.column_stride(),
                                .a_col = columns.pixel_stride(),
                                .b = dy + first * g.out_channels + group * g.group_out(),
                                .ldb = g.out_channels,
                                .c = sums + group * g.columns() * g.group_out(),
                                .ldc = g.group_out(),
                                .accumulate = true});
      });
    }
  });
  for (int64_t piece = 1; piece < pieces; ++piece)
    for (int64_t i = 0; i < weights; ++i) dweight[i] += partial[static_cast<size_t>((piece - 1) * weights + i)];
}

template void conv2d(const Conv2dGeometry&, const float*, const float*, const float*, float*, bool);
template void conv2d(const Conv2dGeometry&, const double*, const double*, const double*, double*, bool);
template void conv2d_input_gradient(const Conv2dGeometry&, const float*, const float*, float*);
template void conv2d_input_gradient(const Conv2dGeometry&, const double*, const double*, double*);
template void conv2d_weight_gradient(const Conv2dGeometry&, const float*, const float*, float*);
template void conv2d_weight_gradient(const Conv2dGeometry&, const double*, const double*, double*);

}  // namespace thimble::kernels
