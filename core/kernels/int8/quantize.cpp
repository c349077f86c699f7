#include <algorithm>
#include <numeric>

#include <thimble/core/kernels/int8/quantize.h>
#include <thimble/core/kernels/int8/quantize_kernels.h>
#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/kernels/rounding.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr KernelOf<const QuantizeKernels*> kKernels[] = {
    THIMBLE_X86_KERNELS({Isa::avx512, &quantize_avx512}, {Isa::avx2, &quantize_avx2}){Isa::scalar, &quantize_scalar}};

const QuantizeKernels& kernels() { return *best_kernel<kKernels>(); }

// Elements that take a thread some microseconds.
constexpr int64_t kGrain = 32 * 1024;

QuantizeConstants constants_of(const QuantizeArgs& args) {
  return {args.scale, static_cast<float>(args.low - args.zero_point), static_cast<float>(args.high - args.zero_point),
          args.zero_point};
}

template <typename Q>
void quantize_with(void (*kernel)(const float*, int64_t, const QuantizeConstants&, Q*), const float* x, int64_t n,
                   const QuantizeArgs& args, Q* out) {
  const QuantizeConstants constants = constants_of(args);
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) { kernel(x + begin, end - begin, constants, out + begin); });
}

template <typename Q>
void dequantize_with(void (*kernel)(const Q*, int64_t, float, int32_t, float*), const Q* q, int64_t n, float scale,
                     int32_t zero_point, float* out) {
  parallel_for(n, kGrain,
               [&](int64_t begin, int64_t end) { kernel(q + begin, end - begin, scale, zero_point, out + begin); });
}

}  // namespace

void quantize(const float* x, int64_t n, const QuantizeArgs& args, uint8_t* out) {
  quantize_with(kernels().to_uint8, x, n, args, out);
}
void quantize(const float* x, int64_t n, const QuantizeArgs& args, int8_t* out) {
  quantize_with(kernels().to_int8, x, n, args, out);
}
bool can_quantize_to_channels_last(int64_t channels) { return channels >= 2 && channels <= kMostQuantizedPlanes; }

void quantize_to_channels_last(const float* x, int64_t images, int64_t channels, int64_t pixels,
                               const QuantizeArgs& args, uint8_t* out) {
  const QuantizeConstants constants = constants_of(args);
  parallel_for(images * pixels, ceil_div(kGrain, channels), [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t image = begin / pixels, pixel = begin % pixels, count = std::min(end - begin, pixels - pixel);
      kernels().planes_to_uint8(x + image * channels * pixels + pixel, pixels, channels, count, constants,
                                out + begin * channels);
      begin += count;
    }
  });
}

void dequantize(const uint8_t* q, int64_t n, float scale, int32_t zero_point, float* out) {
  dequantize_with(kernels().from_uint8, q, n, scale, zero_point, out);
}
void dequantize(const int8_t* q, int64_t n, float scale, int32_t zero_point, float* out) {
  dequantize_with(kernels().from_int8, q, n, scale, zero_point, out);
}
void dequantize(const int32_t* q, int64_t n, float scale, int32_t zero_point, float* out) {
  dequantize_with(kernels().from_int32, q, n, scale, zero_point, out);
}

double squared_steps_error(const float* x, int64_t n, const QuantizeArgs& args) {
  const QuantizeConstants constants = constants_of(args);
  // Blocks, not pieces, are summed in order: pieces depend on the number of threads.
  const int64_t blocks = (n + kGrain - 1) / kGrain;
  double* sums = thread_scratch_of<double>(ScratchUse::sums, blocks);
  parallel_for(blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block)
      sums[block] = kernels().squared_steps_error(x + block * kGrain, std::min(kGrain, n - block * kGrain), constants);
  });
  return std::accumulate(sums, sums + blocks, 0.0);
}

}  // namespace thimble::kernels
