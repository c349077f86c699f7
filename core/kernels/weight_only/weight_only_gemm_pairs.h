// What the kernels without vpdpbusd have in common: fixed-point numbers as 16-bit integers, in pairs for vpmaddwd. Of
// each 4 features the first plane holds the even ones, the second the odd ones, as shifts and masks leave the weights.
#pragma once

#include <thimble/core/kernels/weight_only/weight_only_gemm_loops.h>

namespace thimble::kernels {
namespace {

struct PairPlanes {
  static constexpr bool kCumulative = false;

  static void split(const int32_t* q, int64_t n, uint8_t* even, uint8_t* odd) {
    for (int64_t i = 0; i < n; i += 4) {
      const uint32_t even_pair = (static_cast<uint32_t>(q[i]) & 0xffff) | static_cast<uint32_t>(q[i + 2]) << 16;
      const uint32_t odd_pair = (static_cast<uint32_t>(q[i + 1]) & 0xffff) | static_cast<uint32_t>(q[i + 3]) << 16;
      std::memcpy(even + i, &even_pair, 4);
      std::memcpy(odd + i, &odd_pair, 4);
    }
  }
  static int32_t pair(const uint8_t* p) {
    int32_t both;
    std::memcpy(&both, p, 4);
    return both;
  }
};

}  // namespace
}  // namespace thimble::kernels
