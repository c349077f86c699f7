// One training step of the reference models: forward, cross-entropy, backward, Adam.
#include <benchmark/benchmark.h>

#include "bench/reference_models.h"

namespace thimble::bench {
namespace {

void training_step(benchmark::State& state, const Reference& reference) {
  set_num_threads(static_cast<int>(state.range(0)));
  const auto model = make(reference);
  optim::Adam adam(model->parameters(), {.lr = 1e-3});
  const Tensor x = images(reference, reference.training_batch);
  NDArray labels({reference.training_batch}, DType::int64);
  for (int64_t i = 0; i < labels.numel(); ++i) labels.data<int64_t>()[i] = i % 10;
  const Tensor y(labels);
  for (auto _ : state) {
    const Tensor loss = cross_entropy((*model)(x), y);
    adam.zero_grad();
    loss.backward();
    adam.step();
  }
  state.SetItemsProcessed(state.iterations() * reference.training_batch);
}

const bool registered = [] {
  for (const Reference& reference : kReferences)
    benchmark::RegisterBenchmark(("training_step/" + reference.name).c_str(), training_step, reference)
        ->ArgName("threads")
        ->Arg(1)
        ->Arg(2)
        ->Unit(benchmark::kMicrosecond)
        ->UseRealTime();
  return true;
}();

}  // namespace
}  // namespace thimble::bench
