// Batch normalization of images [rows, channels], where a row is a pixel: channels-last.
#pragma once

#include <cstdint>

#include <thimble/core/kernels/image/batch_norm_rows.h>

namespace thimble::kernels {

// x, y and their gradients are rows of `channels`; samples have `pixels` rows each. Sums over the batch are formed of
// blocks of rows in an order that depends on the sizes alone, so any number of threads gives the same bits, and those
// of its shards are added as the tree of Shards.

/// Mean and biased variance of each channel, in one pass over memory: of blocks that stay in cache in two passes, and
/// those combined (Chan et al. 1979), so that nothing is lost where the mean is large.
template <typename T>
void channel_moments(const T* x, int64_t samples, int64_t pixels, int64_t channels, double* mean, double* variance);

/// y as the map says; what it holds is one number for each channel.
template <typename T>
void map_channels(const T* x, int64_t rows, int64_t channels, const ChannelMap<T>& map, T* y);

/// With dz, the gradient of z: the sums of dz and of dz * (x - mean) for each channel.
template <typename T>
void batch_norm_gradient_sums(const T* x, const T* dy, int64_t samples, int64_t pixels, int64_t channels,
                              const ChannelMap<T>& map, double* sums, double* products);

/// dx = (dz - offset - (x - mean) * slope) * scale; offset and slope are one number for each channel.
template <typename T>
void batch_norm_input_gradient(const T* x, const T* dy, int64_t rows, int64_t channels, const ChannelMap<T>& map,
                               const T* offset, const T* slope, T* dx);

}  // namespace thimble::kernels
