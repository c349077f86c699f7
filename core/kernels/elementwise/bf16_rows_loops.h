// The loops of bf16_rows.h. Included by one source for each instruction set, which gives the size of its registers.
#pragma once

#include <thimble/core/kernels/elementwise/bf16_rows.h>
#include <thimble/core/kernels/vectors.h>

namespace thimble::kernels {
namespace {

template <int kBytes>
void widen_row(const uint16_t* x, int64_t n, float* out) {
  for_each_vector<float, kBytes>(
      n, [=](auto count, int64_t i) __attribute__((always_inline)) {
        constexpr int kCount = decltype(count)::value;
        store(out + i, __builtin_convertvector(load<kCount>(x + i), Vector<uint32_t, kCount>) << 16);
      });
}

template <int kBytes>
void round_row(const float* x, int64_t n, uint16_t* out) {
  for_each_vector<float, kBytes>(
      n, [=](auto count, int64_t i) __attribute__((always_inline)) {
        constexpr int kCount = decltype(count)::value;
        using Bits = Vector<uint32_t, kCount>;
        Bits bits;
        __builtin_memcpy(&bits, x + i, sizeof(bits));
        const Bits rounded = bits + 0x7fffu + ((bits >> 16) & 1u), quiet = bits | 0x400000u;
        const Bits result = (bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded;
        store(out + i, __builtin_convertvector(result >> 16, Vector<uint16_t, kCount>));
      });
}

template <int kBytes>
constexpr Bf16Rows bf16_rows_of() {
  return {widen_row<kBytes>, round_row<kBytes>};
}

}  // namespace
}  // namespace thimble::kernels
