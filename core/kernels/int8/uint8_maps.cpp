#include <thimble/core/kernels/int8/uint8_kernels.h>
#include <thimble/core/kernels/int8/uint8_maps.h>
#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

// Elements that are worth another thread: it has those in its cache which it has made, and will read these.
constexpr int64_t kGrain = 8192;

constexpr KernelOf<const Uint8Kernels*> kKernels[] = {
    THIMBLE_X86_KERNELS({Isa::avx512, &uint8_avx512}, {Isa::avx2, &uint8_avx2}){Isa::scalar, &uint8_scalar}};

using AddKernel = decltype(Uint8Kernels::add);

void combine(AddKernel kernel, const uint8_t* a, const uint8_t* b, int64_t n, const QuantizedAddArgs& args,
             uint8_t* out) {
  const QuantizedAddConstants constants{args.a_scale,
                                        args.b_scale,
                                        args.a_zero_point,
                                        args.b_zero_point,
                                        static_cast<float>(args.low - args.zero_point),
                                        static_cast<float>(args.high - args.zero_point),
                                        args.zero_point};
  parallel_for(n, kGrain,
               [&](int64_t begin, int64_t end) { kernel(a + begin, b + begin, end - begin, constants, out + begin); });
}

}  // namespace

const Uint8Kernels& uint8_kernels() { return *best_kernel<kKernels>(); }

void clamp(const uint8_t* x, int64_t n, uint8_t low, uint8_t high, uint8_t* out) {
  const auto kernel = uint8_kernels().clamp;
  parallel_for(n, kGrain, [=](int64_t begin, int64_t end) { kernel(x + begin, end - begin, low, high, out + begin); });
}

void look_up(const uint8_t* x, int64_t n, const uint8_t* table, uint8_t* out) {
  const auto kernel = uint8_kernels().look_up;
  parallel_for(n, kGrain, [=](int64_t begin, int64_t end) { kernel(x + begin, end - begin, table, out + begin); });
}

void quantized_add(const uint8_t* a, const uint8_t* b, int64_t n, const QuantizedAddArgs& args, uint8_t* out) {
  combine(uint8_kernels().add, a, b, n, args, out);
}

void quantized_maximum(const uint8_t* a, const uint8_t* b, int64_t n, const QuantizedAddArgs& args, uint8_t* out) {
  combine(uint8_kernels().maximum, a, b, n, args, out);
}

void quantized_minimum(const uint8_t* a, const uint8_t* b, int64_t n, const QuantizedAddArgs& args, uint8_t* out) {
  combine(uint8_kernels().minimum, a, b, n, args, out);
}

void quantized_mul(const uint8_t* a, const uint8_t* b, int64_t n, const QuantizedMulArgs& args, uint8_t* out) {
  const QuantizedMulConstants constants{args.scale,
                                        args.a_zero_point,
                                        args.b_zero_point,
                                        static_cast<float>(args.low - args.zero_point),
                                        static_cast<float>(args.high - args.zero_point),
                                        args.zero_point};
  const auto kernel = uint8_kernels().mul;
  parallel_for(n, kGrain,
               [&](int64_t begin, int64_t end) { kernel(a + begin, b + begin, end - begin, constants, out + begin); });
}

}  // namespace thimble::kernels
