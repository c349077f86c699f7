// An LSTM or GRU of two layers of 128 over images of 28 rows of 28, with a linear layer behind the last step: inference
// by the executor, in floats and dynamically quantized, and a training step's forward, cross-entropy and backward.
#include <benchmark/benchmark.h>

#include <thimble/thimble.h>

namespace thimble::bench {
namespace {

template <typename Layer>
struct RowReader : nn::Module {
  nn::Submodule<Layer> rows{this, "rows", 28, 128, {.num_layers = 2, .batch_first = true}};
  nn::Submodule<nn::Linear> fc{this, "fc", 128, 10};
  Tensor forward(const Tensor& x) override { return fc(squeeze(slice(rows(x), 1, -1, x.shape(1)), 1)); }
};

Tensor rows(int64_t batch) {
  Generator generator(1);
  return randn({batch, 28, 28}, generator);
}

template <typename Layer>
nn::Graph traced() {
  RowReader<Layer> model;
  model.eval();
  return nn::trace(model, rows(1));
}

void run(benchmark::State& state, nn::Graph graph) {
  set_num_threads(static_cast<int>(state.range(1)));
  const Tensor x = rows(state.range(0));
  const NoGrad guard;
  for (auto _ : state) benchmark::DoNotOptimize(graph(x));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void recurrent_inference(benchmark::State& state) { run(state, traced<nn::LSTM>()); }
void recurrent_inference_int8(benchmark::State& state) { run(state, quant::quantize_dynamic(traced<nn::LSTM>())); }
void gru_inference(benchmark::State& state) { run(state, traced<nn::GRU>()); }
void gru_inference_int8(benchmark::State& state) { run(state, quant::quantize_dynamic(traced<nn::GRU>())); }

void recurrent_training(benchmark::State& state) {
  set_num_threads(static_cast<int>(state.range(1)));
  RowReader<nn::LSTM> model;
  const Tensor x = rows(state.range(0));
  NDArray labels({state.range(0)}, DType::int64);
  for (int64_t i = 0; i < labels.numel(); ++i) labels.data<int64_t>()[i] = i % 10;
  const std::vector<Tensor> parameters = model.parameters();
  for (auto _ : state) benchmark::DoNotOptimize(grad(cross_entropy(model(x), Tensor(labels)), parameters));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

BENCHMARK(recurrent_inference)
    ->ArgNames({"batch", "threads"})
    ->ArgsProduct({{1, 64}, {1, 2}})
    ->Unit(benchmark::kMicrosecond)
    ->UseRealTime();
BENCHMARK(recurrent_inference_int8)
    ->ArgNames({"batch", "threads"})
    ->ArgsProduct({{1, 64}, {1, 2}})
    ->Unit(benchmark::kMicrosecond)
    ->UseRealTime();
BENCHMARK(gru_inference)
    ->ArgNames({"batch", "threads"})
    ->ArgsProduct({{1, 64}, {1, 2}})
    ->Unit(benchmark::kMicrosecond)
    ->UseRealTime();
BENCHMARK(gru_inference_int8)
    ->ArgNames({"batch", "threads"})
    ->ArgsProduct({{1, 64}, {1, 2}})
    ->Unit(benchmark::kMicrosecond)
    ->UseRealTime();
BENCHMARK(recurrent_training)
    ->ArgNames({"batch", "threads"})
    ->ArgsProduct({{1, 64}, {1, 2}})
    ->Unit(benchmark::kMicrosecond)
    ->UseRealTime();

}  // namespace
}  // namespace thimble::bench
