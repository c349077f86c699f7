// Integer GEMM on the layers of two multilayer perceptrons, in GOP/s (a multiply-add is two operations), on every
// instruction set and one or two threads. "all" runs the three layers one after the other, as a model does.
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include <thimble/core/error.h>
#include <thimble/core/kernels/int8/int8_gemm.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>

namespace thimble::kernels {
namespace {

// Activations start on a cache line, as those of tensors do.
struct Free {
  void operator()(uint8_t* p) const { ::operator delete (p, std::align_val_t{64}); }
};
using Bytes = std::unique_ptr<uint8_t, Free>;

Bytes make_bytes(int64_t size) {
  Bytes bytes(static_cast<uint8_t*>(::operator new (static_cast<size_t>(size), std::align_val_t{64})));
  std::memset(bytes.get(), 100, static_cast<size_t>(size));
  return bytes;
}

struct Layer {
  int64_t n, k;
  PackedInt8Weights weights;
  std::vector<int32_t> bias;
  std::vector<float> multiplier;
  Bytes out;
};

Layer make_layer(int64_t n, int64_t k, int64_t m) {
  std::mt19937 rng(1);
  std::vector<int8_t> w(static_cast<size_t>(n * k));
  for (auto& v : w) v = static_cast<int8_t>(rng());
  const auto size = static_cast<size_t>(n);
  return {n,
          k,
          PackedInt8Weights(w.data(), n, k),
          std::vector<int32_t>(size, 5),
          std::vector<float>(size, 1e-4f),
          make_bytes(m * n)};
}

void run_layers(benchmark::State& state, const std::vector<int64_t>& widths, int64_t m, Isa isa, int threads) {
  set_isa(isa);
  set_num_threads(threads);
  std::vector<Layer> layers;
  int64_t operations = 0;
  for (size_t i = 1; i < widths.size(); ++i) {
    layers.push_back(make_layer(widths[i], widths[i - 1], m));
    operations += 2 * m * widths[i] * widths[i - 1];
  }
  const Bytes input = make_bytes(m * widths[0]);
  for ([[maybe_unused]] auto _ : state) {
    const uint8_t* x = input.get();
    for (Layer& l : layers) {
      int8_gemm(x, l.k, m, l.weights, {.bias = l.bias.data(), .multiplier = l.multiplier.data()}, l.out.get(), l.n);
      x = l.out.get();
    }
    benchmark::DoNotOptimize(x);
  }
  state.counters["GOP/s"] = benchmark::Counter(
      static_cast<double>(operations) * static_cast<double>(state.iterations()) * 1e-9, benchmark::Counter::kIsRate);
}

void register_layers(const std::string& title, const std::vector<int64_t>& widths) {
  for (Isa isa : available_isas()) {
    for (int64_t m : {1, 64, 256}) {
      for (int threads : {1, 2}) {
        const std::string label = str(title, "/", name(isa), "/b", m, "/threads", threads);
        benchmark::RegisterBenchmark(label.c_str(),
                                     [=](benchmark::State& s) { run_layers(s, widths, m, isa, threads); })
            ->UseRealTime()
            ->Unit(benchmark::kMicrosecond);
      }
    }
  }
}

const bool registered = [] {
  register_layers("mlp1024/all", {400, 1024, 1024, 10});
  register_layers("mlp1024/400x1024", {400, 1024});
  register_layers("mlp1024/1024x1024", {1024, 1024});
  register_layers("mlp1024/1024x10", {1024, 10});
  register_layers("mlp128/all", {784, 128, 128, 10});
  register_layers("mlp128/784x128", {784, 128});
  return true;
}();

}  // namespace
}  // namespace thimble::kernels
