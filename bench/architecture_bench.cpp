// Float32 inference of well-known architectures, as training leaves them.
#include <benchmark/benchmark.h>

#include "bench/architectures.h"

namespace thimble::bench {
namespace {

void run(benchmark::State& state, const Architecture& architecture) {
  set_num_threads(static_cast<int>(state.range(1)));
  nn::Graph graph = traced_graph(architecture);
  const Tensor x = images(architecture, state.range(0));
  const NoGrad guard;
  graph(x);  // packs the weights
  for (auto _ : state) benchmark::DoNotOptimize(graph(x));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

const bool registered = [] {
  for (const Architecture& architecture : architectures())
    benchmark::RegisterBenchmark(("architecture/" + architecture.name).c_str(), run, architecture)
        ->ArgNames({"batch", "threads"})
        ->ArgsProduct({{1, 16}, {1, 2}})
        ->Unit(benchmark::kMicrosecond)
        ->UseRealTime();
  return true;
}();

}  // namespace
}  // namespace thimble::bench
