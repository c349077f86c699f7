// Weights as conv2d() reads them: in panels of kGemmPanel output channels, each dense, so that a panel's rows fill
// whole cache lines one after the other. In rows of all channels they would lie far apart, and of 512 channels a power
// of two apart, in the same few places of the cache.
#pragma once

#include <algorithm>
#include <cstdint>

#include <thimble/core/kernels/gemm/small_gemm.h>
#include <thimble/core/kernels/image/conv2d_geometry.h>

namespace thimble::kernels {

/// Where the panels of a convolution's weights lie: [groups, panels, columns(), channels of the panel].
class WeightPanels {
 public:
  explicit WeightPanels(const Conv2dGeometry& g)
      : columns_(g.columns()), group_out_(g.group_out()), panels_((group_out_ + kGemmPanel - 1) / kGemmPanel) {
    group_elements_ = columns_ * ((panels_ - 1) * kGemmPanel + width(panels_ - 1));
  }

  /// Of a group.
  int64_t count() const { return panels_; }
  int64_t first_channel(int64_t panel) const { return panel * kGemmPanel; }
  int64_t channels(int64_t panel) const { return std::min(kGemmPanel, group_out_ - first_channel(panel)); }
  /// From a row of a panel to the next. A last one of 16 channels or more has whole cache lines, too.
  int64_t width(int64_t panel) const {
    const int64_t n = channels(panel);
    return n < kGemmPanel / 2 ? n : (n + kGemmPanel / 2 - 1) / (kGemmPanel / 2) * (kGemmPanel / 2);
  }
  int64_t offset(int64_t group, int64_t panel) const { return group * group_elements_ + panel * kGemmPanel * columns_; }
  int64_t elements(int64_t groups) const { return groups * group_elements_; }

 private:
  int64_t columns_, group_out_, panels_, group_elements_;
};

/// How weights lie elsewhere: from one to the next along each axis.
struct WeightStrides {
  int64_t group, out, in, row, column;
};

/// packed [WeightPanels::elements(groups)]; its padding is set to 0. Threaded.
template <typename T>
void pack_conv2d_weight(const Conv2dGeometry& g, const T* weight, const WeightStrides& strides, T* packed);

/// weight [out_channels, group_in(), kernel height, kernel width] from what conv2d_weight_gradient() gives for g, whose
/// taps begin at `first` of that kernel; those that g lacks become 0. Threaded.
template <typename T>
void unpack_conv2d_weight(const Conv2dGeometry& g, const T* packed, FirstTap first, int64_t kernel_height,
                          int64_t kernel_width, T* weight);

/// Multiplies packed weights, or depthwise ones [taps, channels], with a number for each output channel. Threaded.
void scale_conv2d_weight(const Conv2dGeometry& g, const double* scale, float* packed);

}  // namespace thimble::kernels
