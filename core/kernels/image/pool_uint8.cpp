#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/core/kernels/image/pool.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr int64_t kGrain = 65536;  // bytes read that are worth another thread

int64_t grain_rows(int64_t row_bytes) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, row_bytes)); }

// Windows of more pixels have sums beyond int32.
constexpr int64_t kMostPixels32 = std::numeric_limits<int32_t>::max() / 255;

// The means of a window's channels, whose first pixel is at x. The quotient is that of doubles: sums are exact in them,
// and it then rounds as the true one does.
template <typename Sum>
void average_window(const AveragePoolGeometry& g, const PoolAxis::Range& rows, const PoolAxis::Range& columns,
                    const uint8_t* x, uint8_t* out) {
  const int64_t channels = g.channels;
  Sum* sums = thread_scratch_of<Sum>(ScratchUse::sums, channels);
  std::fill_n(sums, channels, Sum{0});
  for (int64_t h = rows.begin; h < rows.end; ++h, x += g.width.in_size * channels) {
    const uint8_t* pixel = x;
    for (int64_t w = columns.begin; w < columns.end; ++w, pixel += channels)
      for (int64_t c = 0; c < channels; ++c) sums[c] += pixel[c];
  }
  const auto count = static_cast<double>(rows.count * columns.count);
  for (int64_t c = 0; c < channels; ++c)
    out[c] = static_cast<uint8_t>(std::nearbyint(static_cast<double>(sums[c]) / count));
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
        const bool fits = rows.count * columns.count <= kMostPixels32;
        const auto average = fits ? &average_window<int32_t> : &average_window<int64_t>;
        average(g, rows, columns, image + columns.begin * channels, out);
        out += channels;
      }
    }
  });
}

}  // namespace thimble::kernels
