#include <algorithm>
#include <limits>

#include <thimble/core/kernels/image/pool.h>
#include <thimble/core/kernels/int8/uint8_kernels.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr int64_t kGrain = 16384;  // bytes read that are worth another thread

int64_t grain_rows(int64_t row_bytes) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, row_bytes)); }

// Windows of more pixels have sums beyond int32.
constexpr int64_t kMostPixels32 = std::numeric_limits<int32_t>::max() / 255;

// The quotient is that of doubles: sums are exact in them, and it then rounds as the true one does. Adding 1.5 * 2^52
// rounds half to even.
template <typename Sum>
void average(const Sum* sums, int64_t channels, int64_t pixels, uint8_t* out) {
  constexpr double kRound = 0x1.8p52;
  const auto count = static_cast<double>(pixels);
  for (int64_t c = 0; c < channels; ++c)
    out[c] = static_cast<uint8_t>(static_cast<int32_t>((static_cast<double>(sums[c]) / count + kRound) - kRound));
}

// The means of a window's channels.
void average_window(const Uint8Window& window, int64_t channels, uint8_t* out) {
  const int64_t pixels = window.pixels();
  if (pixels <= kMostMeanPixels) return uint8_kernels().mean_pixels(window, channels, out);
  if (pixels <= kMostPixels32) {
    auto* sums = thread_scratch_of<uint32_t>(ScratchUse::sums, channels);
    uint8_kernels().sum_pixels(window, channels, sums);
    return average(reinterpret_cast<const int32_t*>(sums), channels, pixels, out);
  }
  auto* sums = thread_scratch_of<int64_t>(ScratchUse::sums, channels);
  std::fill_n(sums, channels, int64_t{0});
  for (int64_t h = 0; h < window.rows; ++h)
    for (int64_t w = 0; w < window.columns; ++w)
      for (int64_t c = 0; c < channels; ++c) sums[c] += window.first[h * window.row_step + w * window.column_step + c];
  average(sums, channels, pixels, out);
}

}  // namespace

void average_pool2d(const AveragePoolGeometry& g, const uint8_t* x, uint8_t* y) {
  const int64_t channels = g.channels, out_height = g.height.out_size(), out_width = g.width.out_size();
  const int64_t row_bytes = g.height.in_size * g.width.in_size * channels / std::max<int64_t>(1, out_height);
  parallel_for(g.batch * out_height, grain_rows(row_bytes), [&](int64_t begin, int64_t end) {
    uint8_t* out = y + begin * out_width * channels;
    for (int64_t row = begin; row < end; ++row) {
      const auto& rows = g.height.outputs[static_cast<size_t>(row % out_height)];
      const uint8_t* image = x + (row / out_height * g.height.in_size + rows.begin) * g.width.in_size * channels;
      for (const auto& columns : g.width.outputs) {
        average_window({.first = image + columns.begin * channels,
                        .rows = rows.end - rows.begin,
                        .columns = columns.end - columns.begin,
                        .row_step = g.width.in_size * channels,
                        .column_step = channels},
                       channels, out);
        out += channels;
      }
    }
  });
}

}  // namespace thimble::kernels
