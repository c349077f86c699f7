#include <algorithm>

#include <thimble/core/kernels/gemm/small_gemm.h>
#include <thimble/core/kernels/image/expand_pixels.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {
constexpr int64_t kGrain = 100'000;  // multiply-adds worth another thread
}

void expand_pixels(const PixelExpansion& g, const float* x, const std::vector<PackedMatrix>& taps, float* y,
                   const Epilogue<float>& epilogue) {
  const int64_t row_pixels = g.width * g.patch_width, work = row_pixels * g.patch_height * g.in * g.out;
  parallel_for(g.batch * g.height, std::max<int64_t>(1, kGrain / work), [&](int64_t begin, int64_t end) {
    for (int64_t tap = 0; tap < g.patch_height * g.patch_width; ++tap) {
      const PackedMatrix& weight = taps[static_cast<size_t>(tap)];
      const int64_t row = begin * g.patch_height + tap / g.patch_width;
      const int64_t first = (row * row_pixels + tap % g.patch_width) * g.out;
      // A panel's weights stay in cache for all rows, each a product of its own.
      for (int64_t panel = 0; panel < weight.panels(); ++panel) {
        const int64_t width = weight.panel_width(), channel = panel * width;
        small_gemm(SmallGemm<float>{.m = g.width,
                                    .n = std::min(width, g.out - channel),
                                    .k = g.in,
                                    .a = x + begin * g.width * g.in,
                                    .a_row = g.in,
                                    .a_col = 1,
                                    .b = weight.data() + panel * g.in * width,
                                    .ldb = width,
                                    .c = y + first + channel,
                                    .ldc = g.patch_width * g.out,
                                    .products = end - begin,
                                    .a_step = g.width * g.in,
                                    .c_step = g.patch_height * row_pixels * g.out,
                                    .epilogue = epilogue.at(channel, first + channel)});
      }
    }
  });
}

}  // namespace thimble::kernels
