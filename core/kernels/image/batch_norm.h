// Batch normalization of images [rows, channels], where a row is a pixel: channels-last.
#pragma once

#include <cstdint>
#include <type_traits>

#include <thimble/core/bfloat16.h>
#include <thimble/core/kernels/image/batch_norm_rows.h>

namespace thimble::kernels {

template <typename S>
using ComputedIn = std::conditional_t<std::is_same_v<S, bfloat16>, float, S>;

// Images S are float, double, or bfloat16, for which T, what is computed in and what numbers for each channel are, is
// float; else T is S. Sums are formed of blocks of rows in an order that depends on the sizes alone: any number of
// threads gives the same bits.

/// Mean and biased variance of each channel, in one pass over memory: of blocks that stay in cache in two passes, and
/// those combined (Chan et al. 1979), so that nothing is lost where the mean is large.
template <typename S>
void channel_moments(const S* x, int64_t rows, int64_t channels, double* mean, double* variance);

/// y as the map says; what it holds is one number for each channel.
template <typename S, typename T = ComputedIn<S>>
void map_channels(const S* x, int64_t rows, int64_t channels, const ChannelMap<T>& map, S* y);

/// With dz, the gradient of z: the sums of dz and of dz * (x - mean) for each channel.
template <typename S, typename T = ComputedIn<S>>
void batch_norm_gradient_sums(const S* x, const S* dy, int64_t rows, int64_t channels, const ChannelMap<T>& map,
                              double* sums, double* products);

/// dx = (dz - offset - (x - mean) * slope) * scale; offset and slope are one number for each channel.
template <typename S, typename T = ComputedIn<S>>
void batch_norm_input_gradient(const S* x, const S* dy, int64_t rows, int64_t channels, const ChannelMap<T>& map,
                               const T* offset, const T* slope, S* dx);

}  // namespace thimble::kernels
