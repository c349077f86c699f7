#include <algorithm>
#include <limits>

#include <thimble/core/kernels/image/pool.h>
#include <thimble/core/kernels/image/pool_rows.h>
#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

// Elements read that are worth handing to another thread.
constexpr int64_t kGrain = 32768;

int64_t grain(int64_t elements_each) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, elements_each)); }

constexpr KernelOf<const PoolTable*> kKernels[] = {
    THIMBLE_X86_KERNELS({Isa::avx512, &pool_avx512}, {Isa::avx2, &pool_avx2}){Isa::scalar, &pool_scalar}};

const PoolTable& table() { return *best_kernel<kKernels>(); }

const MaxPoolRows<float, uint8_t>& max_rows(float, uint8_t) { return table().max32; }
const MaxPoolRows<double, uint8_t>& max_rows(double, uint8_t) { return table().max64; }
const MaxPoolRows<float, int32_t>& max_rows(float, int32_t) { return table().max32_large; }
const MaxPoolRows<double, int32_t>& max_rows(double, int32_t) { return table().max64_large; }
const AveragePoolRows<float>& average_rows(float) { return table().average32; }
const AveragePoolRows<double>& average_rows(double) { return table().average64; }

struct Range {
  int64_t begin, end;
};

// Which taps of a window that starts at `start` lie inside of an image of this size.
Range taps_inside(int64_t start, int64_t size, int64_t taps, int64_t dilation) {
  const int64_t first = start >= 0 ? 0 : (-start + dilation - 1) / dilation;
  const int64_t last = (size - start + dilation - 1) / dilation;
  return {std::min(first, taps), std::clamp(last, std::min(first, taps), taps)};
}

// Makes the runs of a geometry's rows of outputs.
class RunMaker {
 public:
  explicit RunMaker(const Conv2dGeometry& g)
      : g_(g),
        offsets_(thread_scratch_of<int64_t>(ScratchUse::offsets, most_taps_inside(g))),
        numbers_(thread_scratch_of<int32_t>(ScratchUse::numbers, most_taps_inside(g))) {
    // Windows in the middle see the kernel's whole width.
    const int64_t reach = (g.kernel_width - 1) * g.dilation_width;
    const int64_t first = (g.pad_left + g.stride_width - 1) / g.stride_width;
    const int64_t last_start = g.in_width - 1 - reach + g.pad_left;
    middle_.begin = std::min(first, g.out_width);
    middle_.end =
        last_start < 0 ? middle_.begin : std::clamp(last_start / g.stride_width + 1, middle_.begin, g.out_width);
  }

  /// Calls visit(run) for rows [begin, end) of the outputs, of which each image has out_height.
  template <typename Visit>
  void for_each(int64_t begin, int64_t end, Visit&& visit) {
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t w = 0; w < middle_.begin; ++w) visit(make(row, w, 1));
      if (middle_.begin < middle_.end) visit(make(row, middle_.begin, middle_.end - middle_.begin));
      for (int64_t w = middle_.end; w < g_.out_width; ++w) visit(make(row, w, 1));
    }
  }

 private:
  static int64_t most_taps_inside(const Conv2dGeometry& g) {
    return std::min(g.kernel_height, g.in_height) * std::min(g.kernel_width, g.in_width);
  }

  PoolRun make(int64_t row, int64_t column, int64_t windows) {
    const int64_t image = row / g_.out_height;
    const int64_t top = row % g_.out_height * g_.stride_height - g_.pad_top;
    const int64_t left = column * g_.stride_width - g_.pad_left;
    const Range rows = taps_inside(top, g_.in_height, g_.kernel_height, g_.dilation_height);
    const Range columns = taps_inside(left, g_.in_width, g_.kernel_width, g_.dilation_width);
    int64_t taps = 0;
    for (int64_t kh = rows.begin; kh < rows.end; ++kh)
      for (int64_t kw = columns.begin; kw < columns.end; ++kw, ++taps) {
        offsets_[taps] = (kh * g_.dilation_height * g_.in_width + kw * g_.dilation_width) * g_.in_channels;
        numbers_[taps] = static_cast<int32_t>(kh * g_.kernel_width + kw);
      }
    return {.windows = windows,
            .channels = g_.in_channels,
            .in_first = ((image * g_.in_height + top) * g_.in_width + left) * g_.in_channels,
            .in_step = g_.stride_width * g_.in_channels,
            .out_first = (row * g_.out_width + column) * g_.in_channels,
            .taps = taps,
            .offsets = offsets_,
            .numbers = numbers_};
  }

  const Conv2dGeometry& g_;
  Range middle_;
  int64_t* offsets_;
  int32_t* numbers_;
};

template <typename Visit>
void for_each_run(const Conv2dGeometry& g, Visit&& visit) {
  parallel_for(g.batch * g.out_height, grain(g.out_width * g.taps() * g.in_channels),
               [&](int64_t begin, int64_t end) { RunMaker(g).for_each(begin, end, visit); });
}

bool windows_overlap(const Conv2dGeometry& g) {
  return g.stride_height <= (g.kernel_height - 1) * g.dilation_height ||
         g.stride_width <= (g.kernel_width - 1) * g.dilation_width;
}

// Each pixel of the image lies in exactly one window.
bool windows_tile(const Conv2dGeometry& g) {
  return g.pad_top == 0 && g.pad_left == 0 && g.dilation_height == 1 && g.dilation_width == 1 &&
         g.kernel_height == g.stride_height && g.kernel_width == g.stride_width &&
         g.in_height == g.out_height * g.stride_height && g.in_width == g.out_width * g.stride_width;
}

}  // namespace

template <typename T, typename Index>
void max_pool2d(const Conv2dGeometry& g, const T* x, T* y, Index* winners) {
  const auto forward = max_rows(T{}, Index{}).forward;
  for_each_run(g, [&](const PoolRun& run) {
    if (run.taps > 0) return forward(run, x, y, winners);
    const int64_t n = run.windows * run.channels;
    std::fill_n(y + run.out_first, n, -std::numeric_limits<T>::infinity());
    if (winners) std::fill_n(winners + run.out_first, n, Index{0});
  });
}

void max_pool2d(const Conv2dGeometry& g, const uint8_t* x, uint8_t* y) {
  const auto forward = table().max8;
  for_each_run(g, [&](const PoolRun& run) {
    if (run.taps > 0) return forward(run, x, y);
    std::fill_n(y + run.out_first, run.windows * run.channels, uint8_t{0});
  });
}

template <typename T, typename Index>
void max_pool2d_backward(const Conv2dGeometry& g, const T* dy, const Index* winners, T* dx) {
  const auto& rows = max_rows(T{}, Index{});
  const auto backward = windows_overlap(g) ? rows.add_backward : rows.set_backward;
  const int64_t image = g.in_height * g.in_width * g.in_channels;
  const bool fill = !windows_tile(g);
  // Windows overlap within an image, so a thread takes whole images.
  parallel_for(g.batch, grain(image), [&](int64_t begin, int64_t end) {
    RunMaker runs(g);
    for (int64_t i = begin; i < end; ++i) {
      if (fill) std::fill_n(dx + i * image, image, T{0});
      runs.for_each(i * g.out_height, (i + 1) * g.out_height,
                    [&](const PoolRun& run) { backward(run, dy, winners, dx); });
    }
  });
}

template <typename T, typename Index>
void max_pool2d_gather(const Conv2dGeometry& g, const T* x, const Index* winners, T* y) {
  for_each_run(g, [&](const PoolRun& run) {
    for (int64_t i = 0; i < run.windows * run.channels; ++i) {
      const int64_t kh = winners[run.out_first + i] / g.kernel_width, kw = winners[run.out_first + i] % g.kernel_width;
      const int64_t tap = (kh * g.dilation_height * g.in_width + kw * g.dilation_width) * g.in_channels;
      const int64_t window = run.in_first + i / run.channels * run.in_step;
      y[run.out_first + i] = run.taps > 0 ? x[window + tap + i % run.channels] : T{0};
    }
  });
}

namespace {

template <typename T>
T scale(const PoolAxis::Range& row, const PoolAxis::Range& column) {
  return T{1} / static_cast<T>(row.count * column.count);
}

PoolWindow window(const AveragePoolGeometry& g, const PoolAxis::Range& row, const PoolAxis::Range& column) {
  return {row.end - row.begin, column.end - column.begin, g.width.in_size * g.channels, g.channels};
}

// Calls visit(output pixel, its rows, its columns, offset of its window's first pixel) for all outputs of row
// `row` of image `image`.
template <typename Visit>
void for_each_window(const AveragePoolGeometry& g, int64_t image, int64_t row, Visit&& visit) {
  const PoolAxis::Range& rows = g.height.outputs[static_cast<size_t>(row)];
  int64_t pixel = (image * g.height.out_size() + row) * g.width.out_size();
  for (const PoolAxis::Range& columns : g.width.outputs) {
    const int64_t first = (image * g.height.in_size + rows.begin) * g.width.in_size + columns.begin;
    visit(pixel++, rows, columns, first * g.channels);
  }
}

}  // namespace

template <typename T>
void average_pool2d(const AveragePoolGeometry& g, const T* x, T* y) {
  const int64_t out_height = g.height.out_size();
  const auto forward = average_rows(T{}).forward;
  const int64_t row_elements = g.height.in_size * g.width.in_size * g.channels / std::max<int64_t>(1, out_height);
  parallel_for(g.batch * out_height, grain(row_elements), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      for_each_window(g, row / out_height, row % out_height,
                      [&](int64_t pixel, const auto& rows, const auto& columns, int64_t first) {
                        forward(window(g, rows, columns), x + first, scale<T>(rows, columns), y + pixel * g.channels);
                      });
  });
}

template <typename T>
void average_pool2d_backward(const AveragePoolGeometry& g, const T* dy, T* dx) {
  const int64_t image = g.height.in_size * g.width.in_size * g.channels;
  const auto backward = average_rows(T{}).backward;
  parallel_for(g.batch, grain(image), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::fill_n(dx + i * image, image, T{0});
      for (int64_t row = 0; row < g.height.out_size(); ++row)
        for_each_window(g, i, row, [&](int64_t pixel, const auto& rows, const auto& columns, int64_t first) {
          backward(window(g, rows, columns), dy + pixel * g.channels, scale<T>(rows, columns), dx + first);
        });
    }
  });
}

template void max_pool2d(const Conv2dGeometry&, const float*, float*, uint8_t*);
template void max_pool2d(const Conv2dGeometry&, const double*, double*, uint8_t*);
template void max_pool2d(const Conv2dGeometry&, const float*, float*, int32_t*);
template void max_pool2d(const Conv2dGeometry&, const double*, double*, int32_t*);
template void max_pool2d_backward(const Conv2dGeometry&, const float*, const uint8_t*, float*);
template void max_pool2d_backward(const Conv2dGeometry&, const double*, const uint8_t*, double*);
template void max_pool2d_backward(const Conv2dGeometry&, const float*, const int32_t*, float*);
template void max_pool2d_backward(const Conv2dGeometry&, const double*, const int32_t*, double*);
template void max_pool2d_gather(const Conv2dGeometry&, const float*, const uint8_t*, float*);
template void max_pool2d_gather(const Conv2dGeometry&, const double*, const uint8_t*, double*);
template void max_pool2d_gather(const Conv2dGeometry&, const float*, const int32_t*, float*);
template void max_pool2d_gather(const Conv2dGeometry&, const double*, const int32_t*, double*);
template void average_pool2d(const AveragePoolGeometry&, const float*, float*);
template void average_pool2d(const AveragePoolGeometry&, const double*, double*);
template void average_pool2d_backward(const AveragePoolGeometry&, const float*, float*);
template void average_pool2d_backward(const AveragePoolGeometry&, const double*, double*);

}  // namespace thimble::kernels
