#include <algorithm>

#include <thimble/core/kernels/gemm/small_gemm.h>
#include <thimble/core/kernels/image/winograd.h>
#include <thimble/core/kernels/image/winograd_rows.h>
#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/kernels/rounding.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr KernelOf<const WinogradTable*> kKernels[] = {
    THIMBLE_X86_KERNELS({Isa::avx512, &winograd_avx512}, {Isa::avx2, &winograd_avx2}){Isa::scalar, &winograd_scalar}};

constexpr int64_t kProducts = 16;  // of a tile of 2x2 outputs
// Sums and products of a block of tiles stay in the second level cache, unless that were so few tiles that reading the
// weights would take longer than multiplying.
constexpr int64_t kBlockBytes = 512 * 1024, kFewTiles = 56;
constexpr int64_t kGrain = 100'000;  // multiply-adds worth another thread

// From one tile's channels to the next one's: an odd number of cache lines, so that no two of a few tiles share a place
// in the cache.
int64_t row_floats(int64_t channels) { return (ceil_div(channels, 16) | 1) * 16; }

struct Winograd {
  const Conv2dGeometry& g;
  const float* x;
  const float* weight;
  float* y;
  const Epilogue<float>& epilogue;

  const WinogradTable& table = *best_kernel<kKernels>();
  int64_t rows = ceil_div(g.out_height, 2), columns = ceil_div(g.out_width, 2);  // of tiles
  int64_t in_floats = row_floats(g.in_channels), out_floats = row_floats(g.out_channels);

  int64_t tiles() const { return g.batch * rows * columns; }

  // Tiles [begin, end) of all images.
  void run(int64_t begin, int64_t end) const {
    const int64_t bytes = kProducts * (in_floats + out_floats) * static_cast<int64_t>(sizeof(float));
    const int64_t blocks = ceil_div(end - begin, std::max(kBlockBytes / bytes, kFewTiles));
    const int64_t most = ceil_div(end - begin, blocks);
    float* sums = thread_scratch_of<float>(ScratchUse::columns, kProducts * most * (in_floats + out_floats));
    float* products = sums + kProducts * most * in_floats;
    float* zeros = thread_scratch_of<float>(ScratchUse::rows, g.in_channels);
    std::fill_n(zeros, g.in_channels, 0.0f);
    for (int64_t first = begin; first < end; first += most) {
      const int64_t count = std::min(most, end - first);
      for (int64_t t = 0; t < count; ++t) table.input(input(first + t, zeros, sums + t * in_floats, most * in_floats));
      for (int64_t i = 0; i < kProducts; ++i)
        multiply(i, count, sums + i * most * in_floats, products + i * most * out_floats);
      for (int64_t t = 0; t < count; ++t) table.output(output(first + t, products + t * out_floats, most * out_floats));
    }
  }

 private:
  WinogradInput input(int64_t tile, const float* zeros, float* sums, int64_t step) const {
    WinogradInput in{.pixels = {}, .channels = g.in_channels, .sums = sums, .step = step};
    const int64_t image = tile / (rows * columns);
    const int64_t top = tile / columns % rows * 2 - g.pad_top, left = tile % columns * 2 - g.pad_left;
    for (int64_t i = 0; i < 4; ++i)
      for (int64_t j = 0; j < 4; ++j) {
        const int64_t row = top + i, column = left + j;
        const bool inside = row >= 0 && row < g.in_height && column >= 0 && column < g.in_width;
        in.pixels[i][j] = inside ? x + ((image * g.in_height + row) * g.in_width + column) * g.in_channels : zeros;
      }
    return in;
  }

  void multiply(int64_t i, int64_t count, const float* sums, float* products) const {
    const int64_t panel = g.in_channels * kGemmPanel;
    small_gemm(SmallGemm<float>{.m = count,
                                .n = g.out_channels,
                                .k = g.in_channels,
                                .a = sums,
                                .a_row = in_floats,
                                .a_col = 1,
                                .b = weight + i * ceil_div(g.out_channels, kGemmPanel) * panel,
                                .ldb = kGemmPanel,
                                .c = products,
                                .ldc = out_floats,
                                .b_panel = panel});
  }

  WinogradOutput output(int64_t tile, const float* products, int64_t step) const {
    WinogradOutput out{.products = products,
                       .step = step,
                       .channels = g.out_channels,
                       .y = {},
                       .addend = {},
                       .has_addend = epilogue.addend != nullptr,
                       .clamps = epilogue.clamps(),
                       .bias = epilogue.bias,
                       .lower = epilogue.lower,
                       .upper = epilogue.upper};
    const int64_t image = tile / (rows * columns), top = tile / columns % rows * 2, left = tile % columns * 2;
    for (int64_t i = 0; i < 2; ++i)
      for (int64_t j = 0; j < 2; ++j) {
        if (top + i >= g.out_height || left + j >= g.out_width) continue;
        const int64_t at = ((image * g.out_height + top + i) * g.out_width + left + j) * g.out_channels;
        out.y[i][j] = y + at;
        if (epilogue.addend) out.addend[i][j] = epilogue.addend + at;
      }
    return out;
  }
};

// G w G^T of one 3x3 kernel.
void transform_weight(const float* w, double (&u)[4][4]) {
  double rows[4][3];
  for (int j = 0; j < 3; ++j) {
    const double a = w[j], b = w[3 + j], c = w[6 + j];
    rows[0][j] = a;
    rows[1][j] = (a + b + c) / 2;
    rows[2][j] = (a - b + c) / 2;
    rows[3][j] = c;
  }
  for (int i = 0; i < 4; ++i) {
    const double a = rows[i][0], b = rows[i][1], c = rows[i][2];
    u[i][0] = a;
    u[i][1] = (a + b + c) / 2;
    u[i][2] = (a - b + c) / 2;
    u[i][3] = c;
  }
}

}  // namespace

bool is_for_winograd(const Conv2dGeometry& g) {
  // Fewer channels, and what is won goes into sums and differences; fewer pixels, and it goes into reading weights,
  // unless those are few; half empty tiles at the sides.
  constexpr int64_t kFewChannels = 16, kFewPixels = 12 * 12, kFewerPixels = 4 * 4, kSmallWeights = 64 * 64;
  const int64_t pixels = g.out_height * g.out_width;
  const int64_t computed = ceil_div(g.out_height, 2) * ceil_div(g.out_width, 2) * 4;
  const bool has_few_pixels = pixels < (g.in_channels * g.out_channels <= kSmallWeights ? kFewerPixels : kFewPixels);
  return g.kernel_height == 3 && g.kernel_width == 3 && g.stride_height == 1 && g.stride_width == 1 &&
         g.dilation_height == 1 && g.dilation_width == 1 && g.groups == 1 && g.in_channels >= kFewChannels &&
         g.out_channels >= kFewChannels && !has_few_pixels && computed * 3 <= pixels * 4;
}

int64_t winograd_weight_elements(const Conv2dGeometry& g) {
  return kProducts * ceil_div(g.out_channels, kGemmPanel) * kGemmPanel * g.in_channels;
}

void pack_winograd_weight(const Conv2dGeometry& g, const float* weight, const double* scale, float* packed) {
  const int64_t panels = ceil_div(g.out_channels, kGemmPanel), panel = g.in_channels * kGemmPanel;
  parallel_for(panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p)
      for (int64_t in = 0; in < g.in_channels; ++in)
        for (int64_t c = 0; c < kGemmPanel; ++c) {
          const int64_t out = p * kGemmPanel + c;
          double u[4][4] = {};
          if (out < g.out_channels) transform_weight(weight + (out * g.in_channels + in) * 9, u);
          const double by = scale && out < g.out_channels ? scale[out] : 1;
          for (int64_t i = 0; i < kProducts; ++i)
            packed[(i * panels + p) * panel + in * kGemmPanel + c] = static_cast<float>(u[i / 4][i % 4] * by);
        }
  });
}

void winograd_conv2d(const Conv2dGeometry& g, const float* x, const float* weight, float* y,
                     const Epilogue<float>& epilogue) {
  const Winograd winograd{g, x, weight, y, epilogue};
  const int64_t grain = std::max<int64_t>(14, kGrain / (kProducts * g.in_channels * g.out_channels));
  parallel_for(winograd.tiles(), grain, [&](int64_t begin, int64_t end) { winograd.run(begin, end); });
}

}  // namespace thimble::kernels
