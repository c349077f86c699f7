#include <algorithm>

#include <thimble/core/kernels/gemm/panels.h>
#include <thimble/core/kernels/image/conv2d_weights.h>
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

template void pack_conv2d_weight(const Conv2dGeometry&, const float*, const WeightStrides&, float*);
template void pack_conv2d_weight(const Conv2dGeometry&, const double*, const WeightStrides&, double*);

}  // namespace thimble::kernels
