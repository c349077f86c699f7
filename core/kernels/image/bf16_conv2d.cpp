#include <optional>

#include <thimble/core/kernels/elementwise/bf16_rows.h>
#include <thimble/core/kernels/gemm/bf16_batch_sums.h>
#include <thimble/core/kernels/gemm/bf16_gemm.h>
#include <thimble/core/kernels/image/bf16_conv2d.h>
#include <thimble/core/kernels/image/bf16_frames.h>
#include <thimble/core/kernels/image/col2im.h>

namespace thimble::kernels {

namespace {

constexpr int64_t kPixels = 16;    // a unit of division among threads
constexpr int64_t kColumns = 512;  // output channels whose sums are kept at a time

Bf16Matrix dense_rows(const bfloat16* data, int64_t rows, int64_t columns, int64_t distance) {
  return {data, false, rows, columns, distance, 1};
}

// What the output pixels of a group see: a matrix [pixels, columns()].
class Bf16Windows {
 public:
  Bf16Windows(const Conv2dGeometry& g, const bfloat16* x, int64_t group) : g_(g), x_(x), group_(group) {}

  /// Some rows and columns. Uses ScratchUse::columns.
  Bf16Matrix part(int64_t pixel, int64_t pixels, int64_t column, int64_t columns) const {
    if (lie_in_place())
      return dense_rows(x_ + pixel * g_.in_channels + group_ * g_.group_in() + column, pixels, columns, g_.in_channels);
    auto* rows = thread_scratch_of<bfloat16>(ScratchUse::columns, pixels * columns);
    PixelCursor cursor(g_, pixel);
    for (int64_t i = 0; i < pixels; ++i, cursor.advance()) {
      bfloat16* to = rows + i * columns;
      if (!is_inside(cursor)) std::fill_n(to, columns, bfloat16());
      for_each_part(cursor, column, columns,
                    [&](const bfloat16* from, int64_t place, int64_t n) { copy_run(from, n, to + place); });
    }
    return dense_rows(rows, pixels, columns, columns);
  }

  /// The same as a product's left operand, of terms that are added up in turn.
  PackedLeft pack(int64_t pixel, int64_t pixels, int64_t column, int64_t columns, const Bf16Blocks& blocks) const {
    if (lie_in_place() || !bf16_gemm_table().widened_left)
      return pack_bf16_left(part(pixel, pixels, column, columns), blocks);
    const int64_t places = 2 * blocks.pairs(), step = packed_row_floats(places);
    auto* rows = thread_scratch_of<float>(ScratchUse::left, pixels * step);
    PixelCursor cursor(g_, pixel);
    for (int64_t i = 0; i < pixels; ++i, cursor.advance()) {
      float* to = rows + i * step;
      const int64_t first = is_inside(cursor) ? columns : 0;  // what is not set below
      std::fill_n(to + first, places - first, 0.0f);
      for_each_part(cursor, column, columns,
                    [&](const bfloat16* from, int64_t place, int64_t n) { widen_run(from, n, to + place); });
    }
    return {rows, step, 1};
  }

 private:
  bool lie_in_place() const {
    return g_.taps() == 1 && g_.stride_height == 1 && g_.stride_width == 1 && g_.pad_top == 0 && g_.pad_left == 0 &&
           g_.in_height == g_.out_height && g_.in_width == g_.out_width;
  }

  // Calls put(where in x, place, elements) for the runs of some columns that lie inside of the image.
  template <typename Put>
  void for_each_part(const PixelCursor& pixel, int64_t column, int64_t columns, Put&& put) const {
    for_each_run(g_, pixel, group_, [&](int64_t from, int64_t at, int64_t n) {
      const int64_t first = std::max(at, column), last = std::min(at + n, column + columns);
      if (first < last) put(x_ + from + first - at, first - column, last - first);
    });
  }

  // Runs of images of few channels are so short that a call would take longer than what it does.
  static constexpr int64_t kShort = 12;

  static void copy_run(const bfloat16* from, int64_t n, bfloat16* to) {
    if (n > kShort) return static_cast<void>(std::copy_n(from, n, to));
#pragma GCC unroll 1
    for (int64_t i = 0; i < n; ++i) to[i] = from[i];
  }

  static void widen_run(const bfloat16* from, int64_t n, float* to) {
    if (n > kShort) return bf16_rows().widen(reinterpret_cast<const uint16_t*>(from), n, to);
#pragma GCC unroll 1
    for (int64_t i = 0; i < n; ++i) to[i] = static_cast<float>(from[i]);
  }

  bool is_inside(const PixelCursor& pixel) const {
    return pixel.top() >= 0 && pixel.left() >= 0 &&
           pixel.top() + (g_.kernel_height - 1) * g_.dilation_height < g_.in_height &&
           pixel.left() + (g_.kernel_width - 1) * g_.dilation_width < g_.in_width;
  }

  const Conv2dGeometry& g_;
  const bfloat16* x_;
  int64_t group_;
};

// Rows of so many elements that are worth keeping at a time.
int64_t rows_at_once(int64_t elements) {
  constexpr int64_t kElements = 128 * 1024, kFewest = 12;
  return std::clamp(kElements / std::max<int64_t>(1, elements), kFewest, kBf16Rows);
}

}  // namespace

void bf16_conv2d(const Conv2dGeometry& g, const bfloat16* x, const bfloat16* weight, const float* bias, bfloat16* y) {
  const int64_t terms = g.columns(), pixels = g.out_pixels(), units = (pixels + kPixels - 1) / kPixels;
  const Bf16Panels panels(terms);
  std::optional<Bf16Frames> frames;
  if (Bf16Frames::serve(g)) frames.emplace(g);
  for (int64_t group = 0; group < g.groups; ++group) {
    const Bf16Windows windows(g, x, group);
    for (int64_t first = 0; first < g.group_out(); first += kColumns) {
      const int64_t columns = std::min(kColumns, g.group_out() - first), channel = group * g.group_out() + first;
      const auto memory = panels.pack(dense_rows(weight + channel * terms, columns, terms, terms).transposed());
      const Bf16Result result{y, false, bias ? bias + channel : nullptr};
      // Pixels [pixel, last), whose windows pack() gives.
      const auto run = [&](int64_t pixel, int64_t last, auto&& pack) {
        multiply_bf16_rows(pixel, last - pixel, kBf16Rows, panels, static_cast<const uint32_t*>(memory.get()), terms,
                           columns, pack, [&](int64_t row, int64_t rows, float* sums, int64_t distance) {
                             result.store(sums, distance, rows, columns, row * g.out_channels + channel,
                                          g.out_channels);
                           });
      };
      const int64_t grain = std::max<int64_t>(1, kBf16Grain / (kPixels * terms * columns));
      parallel_for(units, grain, [&](int64_t begin, int64_t end) {
        const int64_t last = std::min(end * kPixels, pixels);
        for (int64_t pixel = begin * kPixels; pixel < last;) {
          if (!frames) {
            run(pixel, last, [&](int64_t row, int64_t rows, int64_t term, int64_t depth, const Bf16Blocks& blocks) {
              return windows.pack(row, rows, term, depth, blocks);
            });
            break;
          }
          const Bf16Frames::Block block = frames->load(x, pixel, last);
          run(pixel, block.last, [&](int64_t row, int64_t rows, int64_t term, int64_t, const Bf16Blocks&) {
            return frames->windows(block, row, rows, group, term);
          });
          pixel = block.last;
        }
      });
    }
  }
}

void bf16_conv2d_input_gradient(const Conv2dGeometry& g, const bfloat16* dy, const bfloat16* weight, bfloat16* dx) {
  const int64_t terms = g.group_out(), columns = g.columns(), pixels = g.out_height * g.out_width,
                image = g.in_height * g.in_width * g.in_channels;
  const Bf16Panels panels(terms);
  const int64_t group_elements = panels.elements(columns);
  const std::shared_ptr<void> memory = allocate(static_cast<size_t>(g.groups * group_elements) * sizeof(uint32_t));
  auto* right = static_cast<uint32_t*>(memory.get());
  for (int64_t group = 0; group < g.groups; ++group)
    panels.pack(dense_rows(weight + group * terms * columns, terms, columns, columns), right + group * group_elements);
  const int64_t grain = std::max<int64_t>(1, kBf16Grain / (pixels * terms * columns));
  // Windows overlap within an image, so a thread takes whole images.
  parallel_for(g.batch, grain, [&](int64_t begin, int64_t end) {
    float* sums_of_image = thread_scratch_of<float>(ScratchUse::columns, image);
    for (int64_t i = begin; i < end; ++i) {
      std::fill_n(sums_of_image, image, 0.0f);
      for (int64_t group = 0; group < g.groups; ++group) {
        const bfloat16* from = dy + i * pixels * g.out_channels + group * terms;
        multiply_bf16_rows(
            0, pixels, rows_at_once(columns), panels, right + group * group_elements, terms, columns,
            [&](int64_t row, int64_t rows, int64_t term, int64_t depth, const Bf16Blocks& blocks) {
              return pack_bf16_left(dense_rows(from + row * g.out_channels + term, rows, depth, g.out_channels),
                                    blocks);
            },
            [&](int64_t row, int64_t rows, const float* sums, int64_t distance) {
              PixelCursor pixel(g, row);
              for (int64_t r = 0; r < rows; ++r, pixel.advance(), sums += distance)
                for_each_run(g, pixel, group, [&](int64_t to, int64_t at, int64_t n) {
                  for (int64_t j = 0; j < n; ++j) sums_of_image[to + j] += sums[at + j];
                });
            });
      }
      bf16_rows().round(sums_of_image, image, reinterpret_cast<uint16_t*>(dx + i * image));
    }
  });
}

void bf16_conv2d_weight_gradient(const Conv2dGeometry& g, const bfloat16* x, const bfloat16* dy, float* dweight) {
  for (int64_t group = 0; group < g.groups; ++group) {
    const Bf16Windows windows(g, x, group);
    sum_bf16_over_batch(
        {.samples = g.batch, .terms = g.out_height * g.out_width, .rows = g.group_out(), .columns = g.columns()},
        [&](int64_t pixel, int64_t pixels) {
          return dense_rows(dy + pixel * g.out_channels + group * g.group_out(), pixels, g.group_out(), g.out_channels);
        },
        [&](int64_t pixel, int64_t pixels, int64_t column, int64_t columns) {
          return windows.part(pixel, pixels, column, columns);
        },
        dweight + group * g.group_out() * g.columns(), g.columns());
  }
}

}  // namespace thimble::kernels
