// How much faster static int8 is than float32, for the reference models at every batch size. Both run in turn, so that
// a busy neighbour slows both; medians. For an aligned table:
//
//   build/release/bench/int8_speedup_bench --benchmark_counters_tabular=true
#include <algorithm>
#include <chrono>

#include <benchmark/benchmark.h>

#include "bench/reference_models.h"

namespace thimble::bench {
namespace {

double seconds(nn::Graph& graph, const Tensor& x) {
  const auto start = std::chrono::steady_clock::now();
  benchmark::DoNotOptimize(graph(x));
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void speedup(benchmark::State& state, const Reference& reference) {
  set_num_threads(static_cast<int>(state.range(1)));
  const Tensor x = images(reference, state.range(0));
  nn::Graph float32 = float_graph(reference), int8 = int8_graph(reference);
  const NoGrad guard;
  std::vector<double> float_seconds, int8_seconds;
  for (auto _ : state) {
    float_seconds.push_back(seconds(float32, x));
    int8_seconds.push_back(seconds(int8, x));
    state.SetIterationTime(float_seconds.back() + int8_seconds.back());
  }
  const double slow = median(float_seconds), fast = median(int8_seconds);
  state.counters["float32_us"] = slow * 1e6;
  state.counters["int8_us"] = fast * 1e6;
  state.counters["speedup"] = slow / fast;
}

const bool registered = [] {
  for (const Reference& reference : kReferences)
    benchmark::RegisterBenchmark(("int8_speedup/" + reference.name).c_str(), speedup, reference)
        ->ArgNames({"batch", "threads"})
        ->ArgsProduct({{1, 2, 4, 8, 16, 32, 64, 128, 256}, {1, 2}})
        ->Unit(benchmark::kMicrosecond)
        ->UseManualTime();
  return true;
}();

}  // namespace
}  // namespace thimble::bench
