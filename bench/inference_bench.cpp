// Inference of the reference models at several batch sizes: float32 as training leaves it, float32 fused before, and
// static int8.
#include <benchmark/benchmark.h>

#include "bench/reference_models.h"

namespace thimble::bench {
namespace {

void run(benchmark::State& state, nn::Graph graph, const Reference& reference) {
  set_num_threads(static_cast<int>(state.range(1)));
  const Tensor x = images(reference, state.range(0));
  const NoGrad guard;
  for (auto _ : state) benchmark::DoNotOptimize(graph(x));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void unfused(benchmark::State& state, const Reference& reference) { run(state, traced_graph(reference), reference); }

void float32(benchmark::State& state, const Reference& reference) { run(state, float_graph(reference), reference); }

void int8(benchmark::State& state, const Reference& reference) { run(state, int8_graph(reference), reference); }

const bool registered = [] {
  for (const Reference& reference : kReferences) {
    for (const auto& [kind, function] :
         {std::pair<const char*, decltype(&int8)>{"unfused", &unfused}, {"float32", &float32}, {"int8", &int8}})
      benchmark::RegisterBenchmark(("inference/" + reference.name + '/' + kind).c_str(), function, reference)
          ->ArgNames({"batch", "threads"})
          ->ArgsProduct({{1, 2, 4, 8, 16, 32, 64, 128, 256}, {1, 2}})
          ->Unit(benchmark::kMicrosecond)
          ->UseRealTime();
  }
  return true;
}();

}  // namespace
}  // namespace thimble::bench
