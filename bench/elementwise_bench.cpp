// Functions of float32 arrays, as ops without gradients on one thread: what is elementwise, and rows of 65536
// elements in all.
#include <benchmark/benchmark.h>

#include <thimble/thimble.h>

namespace thimble::bench {
namespace {

using Function = Tensor (*)(const Tensor&);

void elementwise(benchmark::State& state, Function function) {
  set_num_threads(1);
  const NoGrad guard;
  Generator generator(1);
  const Tensor x(randn({state.range(0)}, generator));
  for (auto _ : state) benchmark::DoNotOptimize(function(x));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void rows(benchmark::State& state, Function function) {
  set_num_threads(1);
  const NoGrad guard;
  Generator generator(1);
  const Tensor x(randn({65536 / state.range(0), state.range(0)}, generator));
  for (auto _ : state) benchmark::DoNotOptimize(function(x));
  state.SetItemsProcessed(state.iterations() * 65536);
}

const struct {
  const char* name;
  Function function;
} kElementwise[] = {{"exp", exp}, {"log", log},   {"tanh", tanh}, {"sigmoid", sigmoid},
                    {"erf", erf}, {"gelu", gelu}, {"silu", silu}},
  kRows[] = {{"softmax", [](const Tensor& x) { return softmax(x); }},
             {"log_softmax", [](const Tensor& x) { return log_softmax(x); }},
             {"layer_norm", [](const Tensor& x) { return layer_norm(x, {x.shape(1)}); }}};

const bool registered = [] {
  for (const auto& f : kElementwise)
    benchmark::RegisterBenchmark(f.name, elementwise, f.function)->ArgName("n")->Arg(1024)->Arg(65536)->Arg(1 << 20);
  for (const auto& f : kRows)
    benchmark::RegisterBenchmark(f.name, rows, f.function)
        ->ArgName("row")
        ->Arg(10)
        ->Arg(64)
        ->Arg(128)
        ->Arg(256)
        ->Arg(768);
  return true;
}();

}  // namespace
}  // namespace thimble::bench
