#include <algorithm>
#include <cmath>

#include <thimble/core/kernels/int8/quantized_layer_norm.h>
#include <thimble/core/kernels/int8/quantized_layer_norm_rows.h>
#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr KernelOf<const QuantizedLayerNormRows*> kKernels[] = {
    THIMBLE_X86_KERNELS({Isa::avx512, &quantized_layer_norm_avx512}, {Isa::avx2, &quantized_layer_norm_avx2}){
        Isa::scalar, &quantized_layer_norm_scalar}};

constexpr int64_t kGrain = 16 * 1024;  // elements worth another thread

}  // namespace

void quantized_layer_norm(const uint8_t* x, int64_t rows, int64_t n, const QuantizedLayerNormArgs& args, uint8_t* out) {
  if (n == 0) return;
  const QuantizedLayerNormRows& kernel = *best_kernel<kKernels>();
  const auto count = static_cast<double>(n), scale = double{args.scale};
  parallel_for(rows, std::max<int64_t>(1, kGrain / n), [&](int64_t begin, int64_t end) {
    QuantizedAffine affine{.factor = 0,
                           .offset = 0,
                           .weight = args.weight,
                           .bias = args.bias,
                           .least = static_cast<float>(-args.zero_point),
                           .most = static_cast<float>(args.high - args.zero_point),
                           .zero_point = args.zero_point};
    for (int64_t r = begin; r < end; ++r) {
      const SumsOfRow sums = kernel.sums(x + r * n, n);
      const uint64_t spread = static_cast<uint64_t>(n) * sums.squares - sums.values * sums.values;
      const double variance = static_cast<double>(spread) / (count * count);
      const double factor = scale / std::sqrt(variance * scale * scale + args.eps);
      affine.factor = static_cast<float>(factor);
      // With the factor as it multiplies: a row of equal integers is 0, whatever eps.
      affine.offset = static_cast<float>(-(static_cast<double>(sums.values) / count * double{affine.factor}));
      kernel.results(x + r * n, n, affine, out + r * n);
    }
  });
}

}  // namespace thimble::kernels
