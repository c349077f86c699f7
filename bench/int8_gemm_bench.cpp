// Integer GEMM on the layers of two multilayer perceptrons, in GOP/s (a multiply-add is two operations), on every
// instruction set and one or two threads. "all" runs the three layers one after the other, as a model does.
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include <thimble/core/error.h>
#include <thimble/core/isa.h>
#include <thimble/core/kernels/int8_gemm.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {
namespace {

struct Layer {
  int64_t n, k;
  PackedInt8Weights weights;
  std::vector<int32_t> bias;
  std::vector<float> multiplier;
  std::vector<uint8_t> out;
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
          std::vector<uint8_t>(static_cast<size_t>(m * n))};
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
  const std::vector<uint8_t> input(static_cast<size_t>(m * widths[0]), 100);
  for ([[maybe_unused]] auto _ : state) {
    const uint8_t* x = input.data();
    for (Layer& l : layers) {
      int8_gemm(x, l.k, m, l.weights, {.bias = l.bias.data(), .multiplier = l.multiplier.data()}, l.out.data(), l.n);
      x = l.out.data();
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
