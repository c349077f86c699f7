#include <cstring>

#include <thimble/core/kernels/int8/int8_depthwise_floats.h>

namespace thimble::kernels {
namespace {

// Channels that are added up together, which the compiler makes vectors of.
constexpr int64_t kChannels = 16;

int64_t bytes_of_taps(const Int8DepthwiseShape& s) { return s.rows.taps * s.columns.taps * s.channels; }
int64_t no_scratch(const Int8DepthwiseShape&) { return 0; }

// As images are: [rows][columns][channels].
void pack_taps(const Int8DepthwiseShape& s, const int8_t* weight, void* packed) {
  const int64_t taps = s.rows.taps * s.columns.taps;
  for (int64_t c = 0; c < s.channels; ++c)
    for (int64_t tap = 0; tap < taps; ++tap)
      static_cast<int8_t*>(packed)[tap * s.channels + c] = weight[c * taps + tap];
}

const uint8_t* pixel_at(const Int8DepthwiseTask& t, int64_t row, int64_t column) {
  const int64_t height = t.shape.rows.size, width = t.shape.columns.size;
  if (row < 0 || row >= height || column < 0 || column >= width) return t.outside;
  return t.x + (row * width + column) * t.shape.channels;
}

int64_t first_tap(const Int8DepthwiseAxis& axis, int64_t output) { return output * axis.stride - axis.padding; }

// Of `count` channels from `first` on.
void add_up(const Int8DepthwiseTask& t, int64_t row, int64_t column, int64_t first, int64_t count, int32_t* sums) {
  const Int8DepthwiseShape& s = t.shape;
  const auto* w = static_cast<const int8_t*>(t.weights) + first;
  std::memset(sums, 0, static_cast<size_t>(count) * sizeof(int32_t));
  for (int64_t i = 0; i < s.rows.taps; ++i)
    for (int64_t j = 0; j < s.columns.taps; ++j, w += s.channels) {
      const uint8_t* x = pixel_at(t, first_tap(s.rows, row) + i * s.rows.dilation,
                                  first_tap(s.columns, column) + j * s.columns.dilation) +
                         first;
      if (count == kChannels)
        for (int64_t c = 0; c < kChannels; ++c) sums[c] += int32_t{x[c]} * int32_t{w[c]};
      else
        for (int64_t c = 0; c < count; ++c) sums[c] += int32_t{x[c]} * int32_t{w[c]};
    }
}

uint8_t depthwise_byte(const Int8DepthwiseTask& t, int64_t channel, int32_t sum) {
  const auto biased = static_cast<uint32_t>(sum) + static_cast<uint32_t>(t.bias[channel]);
  const float scaled = static_cast<float>(static_cast<int32_t>(biased)) * t.multiplier[channel];
  const float low = scaled > t.low ? scaled : t.low, clamped = low < t.high ? low : t.high;
  // Adding and subtracting 1.5 * 2^23 rounds half to even, as long as the magnitude is below 2^22: it is clamped.
  constexpr float kRound = 12582912.0f;
  return static_cast<uint8_t>(static_cast<int32_t>((clamped + kRound) - kRound) + t.zero_point);
}

void run_rows(const Int8DepthwiseTask& t) {
  const int64_t channels = t.shape.channels;
  int64_t y = 0;
  for (int64_t row = t.first_row; row < t.first_row + t.height; ++row)
    for (int64_t column = 0; column < t.shape.width; ++column, y += channels)
      for (int64_t first = 0; first < channels; first += kChannels) {
        const int64_t count = channels - first < kChannels ? channels - first : kChannels;
        int32_t sums[kChannels];
        add_up(t, row, column, first, count, sums);
        for (int64_t c = 0; c < count; ++c)
          if (t.float_out)
            static_cast<float*>(t.y)[y + first + c] = depthwise_float(t, first + c, sums[c]);
          else
            static_cast<uint8_t*>(t.y)[y + first + c] = depthwise_byte(t, first + c, sums[c]);
      }
}

}  // namespace

const Int8DepthwiseTable int8_depthwise_scalar{bytes_of_taps, no_scratch, pack_taps, run_rows};

}  // namespace thimble::kernels
