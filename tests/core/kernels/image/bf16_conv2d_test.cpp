#include <bit>

#include <gtest/gtest.h>

#include "tests/core/kernels/at.h"
#include "tests/core/ops/up_to.h"
#include <thimble/core/kernels/gemm/bf16_order.h>
#include <thimble/core/kernels/image/bf16_conv2d.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>

namespace thimble::kernels {
namespace {

std::vector<bfloat16> random_bfloat16(int64_t n, Generator& rng) {
  std::vector<bfloat16> values;
  for (const float x : randn({n}, rng).to_vector<float>()) values.emplace_back(x);
  return values;
}

// What window element `term` of an output pixel is.
float window_element(const Conv2dGeometry& g, const std::vector<bfloat16>& x, int64_t group, int64_t pixel,
                     int64_t term) {
  const int64_t c = group * g.group_in() + term % g.group_in(), tap = term / g.group_in();
  const int64_t image = pixel / (g.out_height * g.out_width), at_pixel = pixel % (g.out_height * g.out_width);
  const int64_t row = at_pixel / g.out_width * g.stride_height - g.pad_top + tap / g.kernel_width * g.dilation_height;
  const int64_t column = at_pixel % g.out_width * g.stride_width - g.pad_left + tap % g.kernel_width * g.dilation_width;
  if (row < 0 || row >= g.in_height || column < 0 || column >= g.in_width) return 0;
  return static_cast<float>(x[at(((image * g.in_height + row) * g.in_width + column) * g.in_channels + c)]);
}

std::vector<uint16_t> expected_bits(const Conv2dGeometry& g, const std::vector<bfloat16>& x,
                                    const std::vector<bfloat16>& weight, const std::vector<float>& bias) {
  std::vector<uint16_t> y;
  for (int64_t pixel = 0; pixel < g.out_pixels(); ++pixel)
    for (int64_t out = 0; out < g.out_channels; ++out) {
      const float sum = bf16_sum_of_products(
          g.columns(), [&](int64_t i) { return window_element(g, x, out / g.group_out(), pixel, i); },
          [&](int64_t i) { return static_cast<float>(weight[at(out * g.columns() + i)]); });
      y.push_back(bfloat16(sum + bias[at(out)]).bits);
    }
  return y;
}

// Images in frames (channels in pairs, full blocks) and images whose windows are copied; several images and parts of
// one at a time.
TEST(Bf16Conv2d, AddsProductsInItsOrderOnEveryInstructionSet) {
  const Isa isa_before = active_isa();
  const int threads_before = num_threads();
  Generator rng(1);
  for (const int64_t group_in : {1, 3, 16, 32})
    for (const int64_t size : {3, 9, 50})
      for (const int64_t groups : {1, 2}) {
        if (size == 50 && (group_in < 16 || groups > 1)) continue;
        const int64_t stride = up_to(2, rng), dilation = size == 3 ? 1 : up_to(2, rng), pad = up_to(2, rng) - 1;
        const auto outputs = [&](int64_t in) { return (in + 2 * pad - 2 * dilation - 1) / stride + 1; };
        const Conv2dGeometry g{.batch = size == 50 ? 1 : 5,
                               .in_height = size,
                               .in_width = size + 1,
                               .in_channels = groups * group_in,
                               .out_height = outputs(size),
                               .out_width = outputs(size + 1),
                               .out_channels = groups * up_to(40, rng),
                               .kernel_height = 3,
                               .kernel_width = 3,
                               .stride_height = stride,
                               .stride_width = stride,
                               .dilation_height = dilation,
                               .dilation_width = dilation,
                               .pad_top = pad,
                               .pad_left = pad,
                               .groups = groups};
        const auto x = random_bfloat16(g.batch * g.in_height * g.in_width * g.in_channels, rng);
        const auto weight = random_bfloat16(g.out_channels * g.columns(), rng);
        const std::vector<float> bias = randn({g.out_channels}, rng).to_vector<float>();
        const std::vector<uint16_t> expected = expected_bits(g, x, weight, bias);
        for (const Isa isa : available_isas())
          for (const int threads : {1, 3}) {
            set_isa(isa);
            set_num_threads(threads);
            std::vector<bfloat16> y(expected.size());
            bf16_conv2d(g, x.data(), weight.data(), bias.data(), y.data());
            int64_t wrong = 0;
            for (size_t i = 0; i < y.size(); ++i) wrong += y[i].bits != expected[i];
            EXPECT_EQ(wrong, 0) << name(isa) << ", " << threads << " threads, " << g.in_channels << " channels of "
                                << size << ", " << groups << " groups, stride " << stride << ", dilation " << dilation
                                << ", padding " << pad;
          }
      }
  set_isa(isa_before);
  set_num_threads(threads_before);
}

}  // namespace
}  // namespace thimble::kernels
