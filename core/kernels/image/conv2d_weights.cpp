#include <thimble/core/kernels/elementwise/transpose.h>
#include <thimble/core/kernels/image/conv2d_weights.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr int64_t kGrain = 16 * 1024;  // weights worth another thread

// A row of a panel: `width` channels, of which `channels` there are. Both are known to the compiler for full panels.
template <typename T>
[[gnu::always_inline]] inline void pack_row(const T* from, int64_t stride, int64_t channels, int64_t width, T* to) {
  for (int64_t c = 0; c < channels; ++c) to[c] = from[c * stride];
  for (int64_t c = channels; c < width; ++c) to[c] = T{0};
}

template <typename T>
void pack_panel(const Conv2dGeometry& g, const T* weight, const WeightStrides& s, int64_t channels, int64_t width,
                T* packed) {
  if (g.taps() == 1 && s.in == 1 && channels == width)
    return Transpose<T>{weight, s.out, packed, width}.run(g.group_in(), channels);
  // Taps inside: they lie side by side in the weights, and an input channel's are a few cache lines.
  for (int64_t in = 0; in < g.group_in(); ++in)
    for (int64_t row = 0; row < g.kernel_height; ++row)
      for (int64_t column = 0; column < g.kernel_width; ++column) {
        const T* from = weight + in * s.in + row * s.row + column * s.column;
        T* to = packed + ((row * g.kernel_width + column) * g.group_in() + in) * width;
        if (channels < kGemmPanel)
          pack_row(from, s.out, channels, width, to);
        else if (s.out == 1)
          pack_row(from, 1, kGemmPanel, kGemmPanel, to);
        else
          pack_row(from, s.out, kGemmPanel, kGemmPanel, to);
      }
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

}  // namespace thimble::kernels
