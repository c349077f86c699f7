// Pooling over channels-last images [batch, height, width, channels].
#pragma once

#include <cstdint>
#include <vector>

#include <thimble/core/kernels/image/conv2d_geometry.h>

namespace thimble::kernels {

// Max pooling is a convolution's geometry, with as many channels out as in. winners [batch, out_height, out_width,
// channels] are the numbers of the taps that the maxima came from; Index is uint8_t for kernels of up to 256 taps, else
// int32_t.

/// winners may be null. Where no tap lies inside of the image the result is -infinity.
template <typename T, typename Index>
void max_pool2d(const Conv2dGeometry& g, const T* x, T* y, Index* winners);

/// dx: each element of dy added to where the maximum came from, 0 elsewhere.
template <typename T, typename Index>
void max_pool2d_backward(const Conv2dGeometry& g, const T* dy, const Index* winners, T* dx);

/// The transpose of that: y takes the elements of x that won.
template <typename T, typename Index>
void max_pool2d_gather(const Conv2dGeometry& g, const T* x, const Index* winners, T* y);

/// Of quantized images: the maximum of integers is that of the numbers they stand for. 0 where no tap lies inside.
void max_pool2d(const Conv2dGeometry& g, const uint8_t* x, uint8_t* y);

/// What outputs along one axis average over.
struct PoolAxis {
  int64_t in_size;
  struct Range {
    int64_t begin, end;  ///< inside of the image
    int64_t count;       ///< what the sum is divided by: end - begin, or more with padding
  };
  std::vector<Range> outputs;

  int64_t out_size() const { return static_cast<int64_t>(outputs.size()); }
};

struct AveragePoolGeometry {
  int64_t batch, channels;
  PoolAxis height, width;
};

template <typename T>
void average_pool2d(const AveragePoolGeometry& g, const T* x, T* y);

/// Of quantized images: the mean, rounded half to even. Windows must not count padding.
void average_pool2d(const AveragePoolGeometry& g, const uint8_t* x, uint8_t* y);

template <typename T>
void average_pool2d_backward(const AveragePoolGeometry& g, const T* dy, T* dx);

}  // namespace thimble::kernels
