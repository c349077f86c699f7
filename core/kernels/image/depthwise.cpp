#include <algorithm>

#include <thimble/core/kernels/gemm/small_gemm.h>
#include <thimble/core/kernels/image/depthwise.h>
#include <thimble/core/kernels/image/depthwise_axis.h>
#include <thimble/core/kernels/image/depthwise_rows.h>
#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/kernels/reduce/partial_sums.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr KernelOf<const DepthwiseTable*> kKernels[] = {THIMBLE_X86_KERNELS(
    {Isa::avx512, &depthwise_avx512}, {Isa::avx2, &depthwise_avx2}){Isa::scalar, &depthwise_scalar}};

const DepthwiseTable& table() { return *best_kernel<kKernels>(); }
const DepthwiseRows<float>& loops(float) { return table().float32; }
const DepthwiseRows<double>& loops(double) { return table().float64; }

constexpr int64_t kGrain = 20'000;  // multiply-adds worth another thread

int64_t grain(int64_t multiply_adds_each) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, multiply_adds_each));
}

ConvAxis height_of(const Conv2dGeometry& g) {
  return {g.in_height, g.out_height, g.kernel_height, g.stride_height, g.dilation_height, g.pad_top};
}
ConvAxis width_of(const Conv2dGeometry& g) {
  return {g.in_width, g.out_width, g.kernel_width, g.stride_width, g.dilation_width, g.pad_left};
}

// What outputs of a row see of `count` channels of an image of this width.
template <typename T>
DepthwiseRun<T> run_of(const AxisRun& row, const AxisRun& columns, const T* image, int64_t width, int64_t channels,
                       int64_t count) {
  return {.channels = count,
          .pixels = columns.count,
          .rows = row.taps,
          .columns = columns.taps,
          .x = image + (row.in * width + columns.in) * channels,
          .x_pixel = columns.in_step * channels,
          .x_row = row.in_tap_step * width * channels,
          .x_column = columns.in_tap_step * channels};
}

// y [batch, height, width, channels], each pixel the sum over the taps that it sees of images [in_height, in_width,
// channels].
template <typename T>
struct Correlation {
  int64_t batch, height, width, in_height, in_width, channels, kernel_height, kernel_width, multiply_adds;
  std::vector<AxisRun> columns;
  const T *x, *weight;
  T* y;
  const Epilogue<T>& epilogue;
  bool clamps = epilogue.clamps();

  // So many channels at a time that those of the rows which a row of outputs sees stay in the first level cache for the
  // next one; all, where that would be few of them.
  int64_t block() const {
    constexpr int64_t kBytes = 24 * 1024, kLeast = 64, kVector = 16;
    const int64_t most = kBytes / (kernel_height * in_width * static_cast<int64_t>(sizeof(T)));
    if (most < kLeast) return channels;
    const int64_t blocks = (channels + most - 1) / most, each = (channels + blocks - 1) / blocks;
    return (each + kVector - 1) / kVector * kVector;
  }

  // Channels [first, first + count) of a row of outputs.
  void run_row(int64_t i, const AxisRun& row, int64_t first, int64_t count) const {
    const T* image = x + i / height * in_height * in_width * channels + first;
    for (const AxisRun& c : columns) {
      const int64_t out = (i * width + c.out) * channels + first;
      loops(T{}).forward({.run = run_of(row, c, image, in_width, channels, count),
                          .weight = weight + (row.tap * kernel_width + c.tap) * channels + first,
                          .weight_row = row.tap_step * kernel_width * channels,
                          .weight_column = c.tap_step * channels,
                          .y = y + out,
                          .y_pixel = c.step * channels,
                          .bias = epilogue.bias ? epilogue.bias + first : nullptr,
                          .addend = epilogue.addend ? epilogue.addend + out : nullptr,
                          .clamps = clamps,
                          .lower = epilogue.lower,
                          .upper = epilogue.upper});
    }
  }

  template <typename RowOf>
  void run(RowOf&& row_of) const {
    parallel_for(batch * height, grain(multiply_adds), [&](int64_t begin, int64_t end) {
      for (int64_t first = begin; first < end; first = (first / height + 1) * height)
        for (int64_t c = 0; c < channels; c += block())
          for (int64_t i = first; i < std::min(end, (first / height + 1) * height); ++i)
            run_row(i, row_of(i % height), c, std::min(block(), channels - c));
    });
  }
};

}  // namespace

template <typename T>
void depthwise(const Conv2dGeometry& g, const T* x, const T* weight, T* y, const Epilogue<T>& epilogue) {
  const ConvAxis rows = height_of(g), columns = width_of(g);
  const Correlation<T> correlation{g.batch,
                                   g.out_height,
                                   g.out_width,
                                   g.in_height,
                                   g.in_width,
                                   g.out_channels,
                                   g.kernel_height,
                                   g.kernel_width,
                                   g.out_width * g.taps() * g.out_channels,
                                   axis_runs(g.out_width, 1, [&](int64_t at) { return columns.forward(at); }),
                                   x,
                                   weight,
                                   y,
                                   epilogue};
  correlation.run([&](int64_t row) { return rows.forward(row); });
}

template <typename T>
void depthwise_input_gradient(const Conv2dGeometry& g, const T* dy, const T* weight, T* dx) {
  const ConvAxis rows = height_of(g), columns = width_of(g);
  const Epilogue<T> none;
  const Correlation<T> correlation{
      g.batch,
      g.in_height,
      g.in_width,
      g.out_height,
      g.out_width,
      g.out_channels,
      g.kernel_height,
      g.kernel_width,
      std::max<int64_t>(1, g.out_height * g.out_width * g.taps() * g.out_channels / g.in_height),
      axis_runs(g.in_width, g.stride_width, [&](int64_t at) { return columns.backward(at); }),
      dy,
      weight,
      dx,
      none};
  correlation.run([&](int64_t row) { return rows.backward(row); });
}

namespace {

// Adds a row of outputs' products to sums, at most kGemmChain pixels at a time.
template <typename T>
void add_weight_gradient(const Conv2dGeometry& g, const AxisRun& row, const std::vector<AxisRun>& columns,
                         const T* image, const T* dy, SumInParts<T>& parts) {
  const int64_t channels = g.out_channels;
  for (const AxisRun& all : columns)
    for (int64_t first = 0; first < all.count; first += kGemmChain) {
      AxisRun c = all;
      c.out += first;
      c.in += first * c.in_step;
      c.count = std::min(kGemmChain, all.count - first);
      const auto [sums, is_new] = parts.next(c.count);
      if (is_new) std::fill_n(sums, g.taps() * channels, T{0});
      loops(T{}).weight_gradient({.run = run_of(row, c, image, g.in_width, channels, channels),
                                  .dy = dy + c.out * channels,
                                  .dy_pixel = channels,
                                  .sums = sums + (row.tap * g.kernel_width + c.tap) * channels,
                                  .sums_row = g.kernel_width * channels,
                                  .sums_column = channels});
    }
}

}  // namespace

template <typename T>
void depthwise_weight_gradient(const Conv2dGeometry& g, const T* x, const T* dy, T* dweight) {
  const int64_t channels = g.out_channels, weights = g.taps() * channels;
  const int64_t row_elements = g.out_width * channels, image = g.in_height * g.in_width * channels;
  const ConvAxis rows = height_of(g), width = width_of(g);
  const std::vector<AxisRun> columns = axis_runs(g.out_width, 1, [&](int64_t at) { return width.forward(at); });
  sum_in_shards(g.batch, grain(g.out_height * row_elements * g.taps()), weights, dweight,
                [&](int64_t begin, int64_t end, T* sums) {
                  SumInParts<T> parts(sums, weights, kGemmChain);
                  for (int64_t i = begin * g.out_height; i < end * g.out_height; ++i)
                    add_weight_gradient(g, rows.forward(i % g.out_height), columns, x + i / g.out_height * image,
                                        dy + i * row_elements, parts);
                  parts.finish();
                });
}

template void depthwise(const Conv2dGeometry&, const float*, const float*, float*, const Epilogue<float>&);
template void depthwise(const Conv2dGeometry&, const double*, const double*, double*, const Epilogue<double>&);
template void depthwise_input_gradient(const Conv2dGeometry&, const float*, const float*, float*);
template void depthwise_input_gradient(const Conv2dGeometry&, const double*, const double*, double*);
template void depthwise_weight_gradient(const Conv2dGeometry&, const float*, const float*, float*);
template void depthwise_weight_gradient(const Conv2dGeometry&, const double*, const double*, double*);

}  // namespace thimble::kernels
