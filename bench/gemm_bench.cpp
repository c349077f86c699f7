// Float matrix products of a training step at batch 64, and of a single answer, for the reference MLPs: mlp1024 is
// 400 -> 1024 -> 1024 -> 10, mlp128 is 784 -> 128 -> 128 -> 10. The counter is in multiply-adds counted as two.
#include <benchmark/benchmark.h>

#include <thimble/core/ops/matmul.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/parallel.h>
#include <thimble/core/random.h>

namespace {

using namespace thimble;

struct Operands {
  NDArray x, weight, bias, out_grad;

  explicit Operands(const benchmark::State& state) {
    const int64_t batch = state.range(0), out = state.range(1), in = state.range(2);
    Generator generator(1);
    x = randn({batch, in}, generator);
    weight = randn({out, in}, generator);
    bias = randn({out}, generator);
    out_grad = randn({batch, out}, generator);
    set_num_threads(static_cast<int>(state.range(3)));
  }
};

void count_flops(benchmark::State& state) {
  const double flops = 2.0 * static_cast<double>(state.range(0) * state.range(1) * state.range(2));
  state.counters["FLOP/s"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
}

void forward(benchmark::State& state) {
  const Operands o(state);
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(linear(o.x, o.weight, o.bias));
  count_flops(state);
}

void weight_gradient(benchmark::State& state) {
  const Operands o(state);
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(matmul(o.out_grad.transpose(0, 1), o.x));
  count_flops(state);
}

void input_gradient(benchmark::State& state) {
  const Operands o(state);
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(matmul(o.out_grad, o.weight));
  count_flops(state);
}

void bias_gradient(benchmark::State& state) {
  const Operands o(state);
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(sum(o.out_grad, {0}));
}

// batch, out, in, threads
void layers(benchmark::internal::Benchmark* b, int64_t batch) {
  b->ArgNames({"batch", "out", "in", "threads"})->UseRealTime();
  for (int64_t threads : {1, 2})
    for (const auto& [out, in] : {std::pair{1024, 400}, {1024, 1024}, {10, 1024}, {128, 784}, {128, 128}, {10, 128}})
      b->Args({batch, out, in, threads});
}

void training(benchmark::internal::Benchmark* b) { layers(b, 64); }
void single(benchmark::internal::Benchmark* b) { layers(b, 1); }

BENCHMARK(forward)->Apply(training)->Apply(single);
BENCHMARK(weight_gradient)->Apply(training);
BENCHMARK(input_gradient)->Apply(training);
BENCHMARK(bias_gradient)->Apply(training);

}  // namespace
