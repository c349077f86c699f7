// The loops of winograd_rows.h. Included by one source for each instruction set, which gives the size of its registers.
// Additions alone, so that all give the same bits.
#pragma once

#include <thimble/core/kernels/image/winograd_rows.h>
#include <thimble/core/kernels/vectors.h>

namespace thimble::kernels {
namespace {

template <int kBytes>
void transform_input(const WinogradInput& t) {
  for_each_vector<float, kBytes>(
      t.channels, [&](auto count, int64_t c) __attribute__((always_inline)) {
        constexpr int kCount = decltype(count)::value;
        using V = Vector<float, kCount>;
        V rows[4][4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          V d[4];
#pragma GCC unroll 4
          for (int j = 0; j < 4; ++j) d[j] = load<kCount>(t.pixels[i][j] + c);
          rows[i][0] = d[0] - d[2];
          rows[i][1] = d[1] + d[2];
          rows[i][2] = d[2] - d[1];
          rows[i][3] = d[1] - d[3];
        }
        float* to = t.sums + c;
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
          store(to + j * t.step, rows[0][j] - rows[2][j]);
          store(to + (4 + j) * t.step, rows[1][j] + rows[2][j]);
          store(to + (8 + j) * t.step, rows[2][j] - rows[1][j]);
          store(to + (12 + j) * t.step, rows[1][j] - rows[3][j]);
        }
      });
}

template <int kBytes>
void transform_output(const WinogradOutput& t) {
  for_each_vector<float, kBytes>(
      t.channels, [&](auto count, int64_t c) __attribute__((always_inline)) {
        constexpr int kCount = decltype(count)::value;
        using V = Vector<float, kCount>;
        V columns[2][4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
          V m[4];
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i) m[i] = load<kCount>(t.products + (4 * i + j) * t.step + c);
          columns[0][j] = m[0] + m[1] + m[2];
          columns[1][j] = m[1] - m[2] - m[3];
        }
        const V bias = t.bias ? load<kCount>(t.bias + c) : V{};
#pragma GCC unroll 2
        for (int i = 0; i < 2; ++i) {
          const V* m = columns[i];
          const V outputs[2] = {m[0] + m[1] + m[2], m[1] - m[2] - m[3]};
#pragma GCC unroll 2
          for (int j = 0; j < 2; ++j) {
            if (!t.y[i][j]) continue;
            V sum = outputs[j] + bias;
            if (t.has_addend) sum = sum + load<kCount>(t.addend[i][j] + c);
            if (t.clamps) {
              const V lower = broadcast<kCount>(t.lower), upper = broadcast<kCount>(t.upper);
              sum = sum < lower ? lower : sum;  // NaN stays
              sum = sum > upper ? upper : sum;
            }
            store(t.y[i][j] + c, sum);
          }
        }
      });
}

template <int kBytes>
constexpr WinogradTable kWinogradOf{transform_input<kBytes>, transform_output<kBytes>};

}  // namespace
}  // namespace thimble::kernels
