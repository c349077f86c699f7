// Depthwise convolutions of integers, on one thread, for each instruction set: multiply-adds and bytes a second, and
// their share of what the core could do at most: of multiply-adds in registers alone, or of reading and writing such
// images where they lie, whichever takes longer.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include <thimble/core/kernels/int8/int8_conv2d.h>
#include <thimble/core/memory.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>

namespace thimble::bench {
namespace {

using Clock = std::chrono::steady_clock;

struct Size {
  int64_t rows, columns;
};

struct Layer {
  int64_t channels;
  Size image, kernel;
  int64_t stride;

  constexpr Layer(int64_t c, Size of_image, Size of_kernel, int64_t s)
      : channels(c), image(of_image), kernel(of_kernel), stride(s) {}
  constexpr Layer(int64_t c, int64_t size, int64_t taps, int64_t s) : Layer(c, {size, size}, {taps, taps}, s) {}

  kernels::Conv2dGeometry geometry() const {
    return {.batch = 1,
            .in_height = image.rows,
            .in_width = image.columns,
            .in_channels = channels,
            .out_height = (image.rows - 1) / stride + 1,
            .out_width = (image.columns - 1) / stride + 1,
            .out_channels = channels,
            .kernel_height = kernel.rows,
            .kernel_width = kernel.columns,
            .stride_height = stride,
            .stride_width = stride,
            .pad_top = kernel.rows / 2,
            .pad_left = kernel.columns / 2,
            .groups = channels};
  }
  int64_t taps() const { return kernel.rows * kernel.columns; }
  int64_t in_bytes() const { return image.rows * image.columns * channels; }
  int64_t out_bytes() const { return geometry().out_pixels() * channels; }
  int64_t products() const { return out_bytes() * taps(); }
};

// Those of well-known networks, few channels, and kernels along one axis.
constexpr Layer kLayers[] = {
    {32, 112, 3, 1},
    {96, 112, 3, 2},
    {144, 56, 3, 1},
    {144, 56, 3, 2},
    {24, 64, 3, 1},
    {192, 28, 3, 1},
    {192, 28, 3, 2},
    {384, 14, 3, 1},
    {576, 14, 3, 1},
    {576, 14, 3, 2},
    {960, 7, 3, 1},
    {72, 56, 5, 2},
    {120, 28, 5, 1},
    {240, 28, 5, 1},
    {240, 14, 5, 1},
    {672, 14, 5, 1},
    {672, 14, 5, 2},
    {1152, 7, 5, 1},
    {4, 112, 3, 1},
    {8, 112, 3, 1},
    {16, 112, 3, 1},
    {16, 112, 3, 2},
    {8, 112, 5, 1},
    {64, {1, 400}, {1, 3}, 1},
    {64, {1, 400}, {1, 15}, 1},
    {64, {1, 400}, {1, 31}, 1},
    {8, {1, 4000}, {1, 9}, 1},
    {64, {400, 1}, {15, 1}, 1},
    {64, {56, 56}, {1, 3}, 1},
    {64, {56, 56}, {1, 9}, 1},
    {64, {56, 56}, {9, 1}, 1},
};

// The best of many, a call.
double seconds_of(int calls, const std::function<void()>& run) {
  double least = 1e9;
  for (int round = 0; round < 60; ++round) {
    const auto start = Clock::now();
    for (int i = 0; i < calls; ++i) run();
    least = std::min(least, std::chrono::duration<double>(Clock::now() - start).count() / calls);
  }
  return least;
}

#if defined(__x86_64__)
// Twelve sums in registers, for `count` rounds.
#define THIMBLE_TWELVE(i) i("2") i("3") i("4") i("5") i("6") i("7") i("8") i("9") i("10") i("11") i("12") i("13")
#define THIMBLE_ROUNDS(i)                                                                                       \
  asm volatile("1:\n" THIMBLE_TWELVE(i) "dec %0\n jnz 1b\n"                                                     \
               : "+r"(count)                                                                                    \
               :                                                                                                \
               : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
                 "xmm11", "xmm12", "xmm13", "xmm14", "xmm15")
#define THIMBLE_VNNI512(n) "vpdpbusd %%zmm0, %%zmm1, %%zmm" n "\n"
#define THIMBLE_VNNI256(n) "%{vex%} vpdpbusd %%ymm0, %%ymm1, %%ymm" n "\n"
#define THIMBLE_MADD512(n) "vpmaddwd %%zmm0, %%zmm1, %%zmm14\n vpaddd %%zmm14, %%zmm" n ", %%zmm" n "\n"
#define THIMBLE_MADD256(n) "vpmaddwd %%ymm0, %%ymm1, %%ymm14\n vpaddd %%ymm14, %%ymm" n ", %%ymm" n "\n"

// Multiply-adds of a round of the instructions that a level has.
int64_t run_products(Isa isa, int64_t count) {
  switch (isa) {
    case Isa::avx2:
      THIMBLE_ROUNDS(THIMBLE_MADD256);
      return 12 * 16;
    case Isa::avx_vnni:
      THIMBLE_ROUNDS(THIMBLE_VNNI256);
      return 12 * 32;
    case Isa::avx512:
      THIMBLE_ROUNDS(THIMBLE_MADD512);
      return 12 * 32;
    default:
      THIMBLE_ROUNDS(THIMBLE_VNNI512);
      return 12 * 64;
  }
}
#else
int64_t run_products(Isa, int64_t) { return 0; }
#endif

double products_a_second(Isa isa) {
  constexpr int64_t kRounds = 20'000;
  int64_t each = 0;
  const double seconds = seconds_of(1, [&] { each = run_products(isa, kRounds); });
  return static_cast<double>(each * kRounds) / seconds;
}

// Reads the image, in which there is no 0, and writes one of the result's size.
void pass_over(const Layer& layer, const uint8_t* x, uint8_t* y) {
  std::memcpy(y, x, static_cast<size_t>(layer.out_bytes()));
  const auto* rest = x + layer.out_bytes();
  benchmark::DoNotOptimize(std::memchr(rest, 0, static_cast<size_t>(layer.in_bytes() - layer.out_bytes())));
  benchmark::ClobberMemory();
}

// Aligned, as they are in networks.
using Bytes = std::shared_ptr<uint8_t>;
Bytes bytes(int64_t count) { return std::static_pointer_cast<uint8_t>(allocate(static_cast<size_t>(count))); }

void run(benchmark::State& state, const Layer& layer) {
  set_num_threads(1);
  const auto channels = static_cast<size_t>(layer.channels);
  const std::vector<int8_t> weight(channels * static_cast<size_t>(layer.taps()), 3);
  const kernels::Int8Conv2d conv(layer.geometry(), weight.data());
  const Bytes x = bytes(layer.in_bytes()), y = bytes(layer.out_bytes()), scratch = bytes(conv.scratch_bytes(1));
  std::fill_n(x.get(), layer.in_bytes(), uint8_t{100});
  const std::vector<int32_t> bias(channels, 5);
  const std::vector<float> multiplier(channels, 0.01f);
  const kernels::Int8Epilogue epilogue{
      .bias = bias.data(), .multiplier = multiplier.data(), .zero_point = 10, .low = 0, .high = 255};
  double seconds = 1e9;
  for (auto _ : state) {
    const auto start = Clock::now();
    conv.run(x.get(), 1, 128, epilogue, y.get(), scratch.get());
    seconds = std::min(seconds, std::chrono::duration<double>(Clock::now() - start).count());
  }
  // In turn with it: clocks change.
  const double products = static_cast<double>(layer.products()), bytes = double(layer.in_bytes() + layer.out_bytes());
  const double of_products = products / products_a_second(active_isa());
  const double of_bytes = seconds_of(3, [&] { pass_over(layer, x.get(), y.get()); });
  state.counters["us"] = seconds * 1e6;
  state.counters["GMAC/s"] = products / seconds / 1e9;
  state.counters["GB/s"] = bytes / seconds / 1e9;
  state.counters["most GMAC/s"] = products / of_products / 1e9;
  state.counters["most GB/s"] = bytes / of_bytes / 1e9;
  state.counters["share"] = std::max(of_products, of_bytes) / seconds;
}

std::string str(const Size& size) { return std::to_string(size.rows) + "x" + std::to_string(size.columns); }

const bool registered = [] {
  for (const Layer& layer : kLayers)
    for (const Isa isa : available_isas()) {
      if (isa == Isa::scalar) continue;
      const std::string shape = std::to_string(layer.channels) + ", " + str(layer.image) + ", " + str(layer.kernel) +
                                "/" + std::to_string(layer.stride);
      benchmark::RegisterBenchmark((shape + ", " + std::string(name(isa))).c_str(), [=](benchmark::State& state) {
        set_isa(isa);
        run(state, layer);
      });
    }
  return true;
}();

}  // namespace
}  // namespace thimble::bench
