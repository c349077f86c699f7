// Float results of int8 depthwise convolutions. In an anonymous namespace for the reason given in
// int8_depthwise_loops.h.
#pragma once

#include <cstdint>

#include <thimble/core/kernels/int8/int8_depthwise_rows.h>

namespace thimble::kernels {
namespace {

// Of one channel's sum of products.
inline float depthwise_float(const Int8DepthwiseTask& t, int64_t channel, int32_t sum) {
  // Sums wrap around as those of vectors do.
  const auto raw = static_cast<uint32_t>(sum), constant = static_cast<uint32_t>(t.bias[channel]);
  float y;
  if (t.own_parameters) {
    const auto own = static_cast<int32_t>(raw - constant * static_cast<uint32_t>(t.image_zero_point));
    y = static_cast<float>(own) * (t.image_scale * t.multiplier[channel]) + (t.offset ? t.offset[channel] : 0);
  } else {
    y = static_cast<float>(static_cast<int32_t>(raw + constant)) * t.multiplier[channel];
  }
  return y > t.low ? y : t.low;
}

}  // namespace
}  // namespace thimble::kernels
