#include <algorithm>
#include <cmath>

#include <thimble/core/kernels/image/pool.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {
constexpr int64_t kGrain = 65536;  // bytes read that are worth another thread

int64_t grain_rows(int64_t row_bytes) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, row_bytes)); }
}  // namespace

void average_pool2d(const AveragePoolGeometry& g, const uint8_t* x, uint8_t* y) {
  const int64_t channels = g.channels, out_height = g.height.out_size(), out_width = g.width.out_size();
  const int64_t row_bytes = g.height.in_size * g.width.in_size * channels / std::max<int64_t>(1, out_height);
  parallel_for(g.batch * out_height, grain_rows(row_bytes), [&](int64_t begin, int64_t end) {
    auto* sums = thread_scratch_of<int32_t>(ScratchUse::sums, channels);
    uint8_t* out = y + begin * out_width * channels;
    for (int64_t row = begin; row < end; ++row) {
      const auto& rows = g.height.outputs[static_cast<size_t>(row % out_height)];
      for (const auto& columns : g.width.outputs) {
        std::fill_n(sums, channels, 0);
        for (int64_t h = rows.begin; h < rows.end; ++h) {
          const uint8_t* from =
              x + ((row / out_height * g.height.in_size + h) * g.width.in_size + columns.begin) * channels;
          for (int64_t w = columns.begin; w < columns.end; ++w, from += channels)
            for (int64_t c = 0; c < channels; ++c) sums[c] += from[c];
        }
        const auto count = static_cast<float>(rows.count * columns.count);
        for (int64_t c = 0; c < channels; ++c)
          out[c] = static_cast<uint8_t>(std::nearbyint(static_cast<float>(sums[c]) / count));
        out += channels;
      }
    }
  });
}

}  // namespace thimble::kernels
