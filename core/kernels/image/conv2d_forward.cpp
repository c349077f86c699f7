// conv2d(): a matrix product whose rows are output pixels, a panel of output channels at a time.
// conv2d_plan.h says which, and in which order.
#include <algorithm>
#include <vector>

#include <thimble/core/kernels/gemm/small_gemm.h>
#include <thimble/core/kernels/image/conv2d.h>
#include <thimble/core/kernels/image/conv2d_plan.h>
#include <thimble/core/kernels/image/conv2d_weights.h>
#include <thimble/core/kernels/image/conv_images.h>
#include <thimble/core/kernels/image/depthwise.h>
#include <thimble/core/kernels/rounding.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

template <typename T>
struct Forward {
  const ConvFrames& frames;
  const T* x;
  const T* weight;
  T* y;
  const Epilogue<T>& epilogue;

  const Conv2dGeometry& g = frames.geometry();
  WeightPanels panels{g};
  std::vector<TermBlock> blocks = term_blocks(g, sizeof(T));
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

  // What comes before and after the sum, if that is added up in several blocks.
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

}  // namespace

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
