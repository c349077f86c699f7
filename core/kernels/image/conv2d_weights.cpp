#include <algorithm>

#include <thimble/core/kernels/gemm/panels.h>
#include <thimble/core/kernels/image/conv2d_weights.h>
#include <thimble/core/kernels/rounding.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr int64_t kGrain = 16 * 1024;  // weights worth another thread

template <typename T>
void pack_panel(const Conv2dGeometry& g, const T* weight, const WeightStrides& s, int64_t channels, int64_t width,
                T* packed) {
  // An input channel's taps lie side by side in the weights: those of so many stay in cache from tap to tap.
  const int64_t most = g.taps() == 1 ? g.group_in() : 16;
  for (int64_t in = 0; in < g.group_in(); in += most)
    for (int64_t row = 0; row < g.kernel_height; ++row)
      for (int64_t column = 0; column < g.kernel_width; ++column)
        pack_panels<T>({.data = weight + in * s.in + row * s.row + column * s.column,
                        .rows = std::min(most, g.group_in() - in),
                        .cols = channels,
                        .row_stride = s.in,
                        .col_stride = s.out},
                       width, packed + ((row * g.kernel_width + column) * g.group_in() + in) * width);
}

}  // namespace

template <typename T>
void pack_conv2d_weight(const Conv2dGeometry& g, const T* weight, const WeightStrides& strides, T* packed) {
  const WeightPanels panels(g);
  const int64_t grain = std::max<int64_t>(1, kGrain / (g.columns() * panels.width(0)));
  parallel_for(g.groups * panels.count(), grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t group = i / panels.count(), panel = i % panels.count();
      pack_panel(g, weight + group * strides.group + panels.first_channel(panel) * strides.out, strides,
                 panels.channels(panel), panels.width(panel), packed + panels.offset(group, panel));
    }
  });
}

template <typename T>
void unpack_conv2d_weight(const Conv2dGeometry& g, const T* packed, FirstTap first, int64_t kernel_height,
                          int64_t kernel_width, T* weight) {
  // Depthwise, the groups lie side by side as output channels do.
  const int64_t groups = g.depthwise() ? 1 : g.groups, out = g.out_channels / groups, in = g.group_in();
  const int64_t taps = kernel_height * kernel_width;
  constexpr int64_t kChannels = 64 / sizeof(T);  // a cache line of packed
  const int64_t blocks = ceil_div(out, kChannels), grain = std::max<int64_t>(1, kGrain / (kChannels * in * taps));
  parallel_for(groups * blocks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t group = block / blocks, channel = block % blocks * kChannels;
      const int64_t channels = std::min(kChannels, out - channel);
      const T* from = packed + group * g.columns() * out + channel;
      T* to = weight + (group * out + channel) * in * taps;
      if (g.taps() < taps) std::fill_n(to, channels * in * taps, T{0});
      for (int64_t i = 0; i < in; ++i)
        for (int64_t row = 0; row < g.kernel_height; ++row)
          for (int64_t column = 0; column < g.kernel_width; ++column) {
            const T* line = from + ((row * g.kernel_width + column) * in + i) * out;
            T* tap = to + i * taps + (first.row + row) * kernel_width + first.column + column;
            for (int64_t c = 0; c < channels; ++c) tap[c * in * taps] = line[c];
          }
    }
  });
}

void scale_conv2d_weight(const Conv2dGeometry& g, const double* scale, float* packed) {
  const auto scale_rows = [](float* rows, int64_t count, int64_t width, int64_t channels, const double* by) {
    for (int64_t row = 0; row < count; ++row, rows += width)
      for (int64_t c = 0; c < channels; ++c) rows[c] = static_cast<float>(double{rows[c]} * by[c]);
  };
  if (g.depthwise()) return scale_rows(packed, g.taps(), g.out_channels, g.out_channels, scale);
  const WeightPanels panels(g);
  const int64_t grain = std::max<int64_t>(1, kGrain / (g.columns() * panels.width(0)));
  parallel_for(g.groups * panels.count(), grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t group = i / panels.count(), panel = i % panels.count();
      scale_rows(packed + panels.offset(group, panel), g.columns(), panels.width(panel), panels.channels(panel),
                 scale + group * g.group_out() + panels.first_channel(panel));
    }
  });
}

template void pack_conv2d_weight(const Conv2dGeometry&, const float*, const WeightStrides&, float*);
template void pack_conv2d_weight(const Conv2dGeometry&, const double*, const WeightStrides&, double*);
template void unpack_conv2d_weight(const Conv2dGeometry&, const float*, FirstTap, int64_t, int64_t, float*);
template void unpack_conv2d_weight(const Conv2dGeometry&, const double*, FirstTap, int64_t, int64_t, double*);

}  // namespace thimble::kernels
