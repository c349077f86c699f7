// What integer networks do besides products, on one thread: bytes read and written a second, for each instruction set.
#include <algorithm>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include <thimble/core/kernels/elementwise/copy.h>
#include <thimble/core/kernels/image/pool.h>
#include <thimble/core/kernels/image/resize.h>
#include <thimble/core/kernels/int8/quantize.h>
#include <thimble/core/kernels/int8/uint8_maps.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>

namespace thimble::bench {
namespace {

// An image of 96 channels, as large as stays in the second level cache with what is made of it.
constexpr int64_t kSize = 48, kChannels = 96, kPixels = kSize * kSize, kBytes = kPixels * kChannels;

struct Data {
  std::vector<uint8_t> a = std::vector<uint8_t>(kBytes), b = a, out = a, table = std::vector<uint8_t>(256);
  std::vector<float> floats = std::vector<float>(kBytes), resized = floats;
  Data() {
    for (size_t i = 0; i < a.size(); ++i) {
      a[i] = static_cast<uint8_t>(i * 37 % 251);
      b[i] = static_cast<uint8_t>(i * 101 % 253);
      floats[i] = static_cast<float>(a[i]) - 120.3f;
    }
    for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<uint8_t>(i * 7);
  }
};

// Between pixels, as "half_pixel" says.
kernels::ResizeAxis doubled(int64_t size) {
  kernels::ResizeAxis axis{size, {0}, {}, {}};
  for (int64_t i = 0; i < 2 * size; ++i) {
    const int64_t first = (i + 1) / 2 - 1;
    for (const int64_t at : {first, first + 1}) axis.index.push_back(std::clamp<int64_t>(at, 0, size - 1));
    axis.weight.insert(axis.weight.end(), {i % 2 ? 0.75f : 0.25f, i % 2 ? 0.25f : 0.75f});
    axis.starts.push_back(2 * i + 2);
  }
  return axis;
}

// How many bytes it reads and writes.
using Function = int64_t (*)(Data& d);

const struct {
  const char* name;
  Function function;
} kFunctions[] = {
    {"look_up",
     [](Data& d) {
       kernels::look_up(d.a.data(), kBytes, d.table.data(), d.out.data());
       return 2 * kBytes;
     }},
    {"clamp",
     [](Data& d) {
       kernels::clamp(d.a.data(), kBytes, 20, 200, d.out.data());
       return 2 * kBytes;
     }},
    {"quantize",
     [](Data& d) {
       kernels::quantize(d.floats.data(), kBytes / 4, {0.7f, 100, 0, 255}, d.out.data());
       return kBytes / 4 * 5;
     }},
    {"dequantize",
     [](Data& d) {
       kernels::dequantize(d.a.data(), kBytes / 4, 0.7f, 100, d.floats.data());
       return kBytes / 4 * 5;
     }},
    {"quantized_add",
     [](Data& d) {
       kernels::quantized_add(d.a.data(), d.b.data(), kBytes, {0.3f, 0.4f, 100, 90, 80, 0, 255}, d.out.data());
       return 3 * kBytes;
     }},
    {"quantized_mul",
     [](Data& d) {
       kernels::quantized_mul(d.a.data(), d.b.data(), kBytes, {0.01f, 100, 90, 80, 0, 255}, d.out.data());
       return 3 * kBytes;
     }},
    {"quantized_maximum",
     [](Data& d) {
       kernels::quantized_maximum(d.a.data(), d.b.data(), kBytes, {0.3f, 0.4f, 100, 90, 80, 0, 255}, d.out.data());
       return 3 * kBytes;
     }},
    {"resize to 2x",
     [](Data& d) {
       static const kernels::ImageResize resize(doubled(kSize / 2), doubled(kSize / 2), kChannels);
       resize.run(d.a.data(), 1, d.out.data());
       return kBytes / 4 * 5;
     }},
    {"resize to 2x, 3 channels",
     [](Data& d) {
       static const kernels::ImageResize resize(doubled(kSize * 2), doubled(kSize * 2), 3);
       resize.run(d.a.data(), 1, d.out.data());
       return kPixels * 4 * 3 * 5;
     }},
    {"resize of floats to 2x",
     [](Data& d) {
       static const kernels::ImageResize resize(doubled(kSize / 2), doubled(kSize / 2), kChannels);
       resize.run(d.floats.data(), 1, d.resized.data());
       return kBytes / 4 * 5 * 4;
     }},
    {"max_pool2d 3x3/2",
     [](Data& d) {
       constexpr int64_t kOut = (kSize - 3) / 2 + 1;
       kernels::Conv2dGeometry g{};
       g.batch = 1;
       g.in_height = g.in_width = kSize;
       g.in_channels = g.out_channels = kChannels;
       g.out_height = g.out_width = kOut;
       g.kernel_height = g.kernel_width = 3;
       g.stride_height = g.stride_width = 2;
       g.dilation_height = g.dilation_width = 1;
       kernels::max_pool2d(g, d.a.data(), d.out.data());
       return kBytes + kOut * kOut * kChannels;
     }},
    {"avg_pool2d 2x2/2",
     [](Data& d) {
       kernels::PoolAxis axis{kSize, {}};
       for (int64_t i = 0; i < kSize; i += 2) axis.outputs.push_back({i, i + 2, 2});
       kernels::average_pool2d({1, kChannels, axis, axis}, d.a.data(), d.out.data());
       return kBytes / 4 * 5;
     }},
    {"global_avg_pool2d",
     [](Data& d) {
       const kernels::PoolAxis axis{kSize, {{0, kSize, kSize}}};
       kernels::average_pool2d({1, kChannels, axis, axis}, d.a.data(), d.out.data());
       return kBytes;
     }},
};

NDArray image_over(std::vector<uint8_t>& bytes, const Shape& shape) {
  return NDArray::borrow(bytes.data(), shape, DType::uint8, nullptr);
}

const struct {
  const char* name;
  Function function;
} kCopies[] = {
    {"half of the channels",
     [](Data& d) {
       NDArray to = image_over(d.out, {kPixels, kChannels / 2});
       kernels::copy(image_over(d.a, {kPixels, kChannels}).slice(1, kChannels / 2, kChannels), to);
       return kBytes;
     }},
    {"shuffled channels",
     [](Data& d) {
       NDArray to = image_over(d.out, {kPixels, kChannels / 2, 2});
       kernels::copy(image_over(d.a, {kPixels, 2, kChannels / 2}).transpose(1, 2), to);
       return 2 * kBytes;
     }},
};

void run(benchmark::State& state, Function function) {
  set_num_threads(1);
  Data data;
  int64_t bytes = 0;
  for (auto _ : state) {
    bytes = function(data);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * bytes);
}

const bool registered = [] {
  for (const auto& f : kFunctions)
    for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
      if (!has_all(detected_features(), features_of(isa))) continue;
      const auto with_isa = [=](benchmark::State& state) {
        set_isa(isa);
        run(state, f.function);
      };
      benchmark::RegisterBenchmark((std::string(f.name) + ", " + std::string(name(isa))).c_str(), with_isa);
    }
  for (const auto& f : kCopies) benchmark::RegisterBenchmark(f.name, run, f.function);
  return true;
}();

}  // namespace
}  // namespace thimble::bench
