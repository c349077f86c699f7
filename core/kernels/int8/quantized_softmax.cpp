#include <algorithm>
#include <cmath>

#include <thimble/core/kernels/int8/quantized_softmax.h>
#include <thimble/core/kernels/int8/quantized_softmax_rows.h>
#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr KernelOf<const QuantizedSoftmaxRows*> kKernels[] = {
    THIMBLE_X86_KERNELS({Isa::avx512, &quantized_softmax_avx512}, {Isa::avx2, &quantized_softmax_avx2}){
        Isa::scalar, &quantized_softmax_scalar}};

constexpr int64_t kGrain = 16 * 1024;  // elements worth another thread

// exp(-x), x >= 0, in operations that every machine rounds alike: those of C libraries differ in the last digit.
double exp_of_minus(double x) {
  constexpr double kLn2 = 0x1.62e42fefa39efp-1;
  if (!(x < 100)) return 0;
  const double n = std::floor(x / kLn2), r = x - n * kLn2;
  double sum = 1;
  for (int i = 20; i >= 1; --i) sum = 1 - r / i * sum;
  return std::ldexp(sum, -static_cast<int>(n));
}

}  // namespace

QuantizedSoftmaxTable::QuantizedSoftmaxTable(float scale, float output_scale_, int32_t output_zero_point,
                                             int32_t output_high)
    : output_scale(double{output_scale_}),
      zero_point(output_zero_point),
      least(static_cast<float>(-output_zero_point)),
      most(static_cast<float>(output_high - output_zero_point)) {
  for (int i = 0; i < 16; ++i) {
    const double value = double{kOne} * exp_of_minus(16 * i * double{scale});
    high[i] = value < 0.25 ? 0.0f : static_cast<float>(value);  // such terms are 0, and tiny numbers slow
    low[i] = std::max(static_cast<float>(exp_of_minus(i * double{scale})), 0x1p-64f);
  }
  for (int d = 0; d < 256; ++d) term[d] = static_cast<int32_t>(std::nearbyint(high[d / 16] * low[d % 16]));
}

void quantized_softmax(const uint8_t* x, int64_t rows, int64_t n, const QuantizedSoftmaxTable& table, uint8_t* out) {
  if (n == 0) return;
  const QuantizedSoftmaxRows& kernel = *best_kernel<kKernels>();
  parallel_for(rows, std::max<int64_t>(1, kGrain / n), [&](int64_t begin, int64_t end) {
    auto* terms = thread_scratch_of<int32_t>(ScratchUse::numbers, n);
    for (int64_t r = begin; r < end; ++r) {
      const uint8_t* row = x + r * n;
      const uint64_t sum = kernel.terms(row, n, kernel.largest(row, n), table, terms);
      const auto multiplier = static_cast<float>(1.0 / (static_cast<double>(sum) * table.output_scale));
      kernel.results(terms, n, multiplier, table, out + r * n);
    }
  });
}

}  // namespace thimble::kernels
