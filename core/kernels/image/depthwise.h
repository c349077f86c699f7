// Depthwise convolution: each output channel sees one input channel. Layouts as in conv2d.h, weights [taps, channels].
#pragma once

#include <thimble/core/kernels/image/conv2d.h>

namespace thimble::kernels {

template <typename T>
void depthwise(const Conv2dGeometry& g, const T* x, const T* weight, T* y, const Epilogue<T>& epilogue);
template <typename T>
void depthwise_input_gradient(const Conv2dGeometry& g, const T* dy, const T* weight, T* dx);
template <typename T>
void depthwise_weight_gradient(const Conv2dGeometry& g, const T* x, const T* dy, T* dweight);

}  // namespace thimble::kernels
