// mlp1024 with float32 weights, in static int8 and with weights alone of 8, 4 and 2 bits: each of its layers and the
// whole. All run in turn, so that a busy neighbour slows all; medians. For an aligned table:
//
//   build/release/bench/weight_only_bench --benchmark_counters_tabular=true
#include <algorithm>
#include <chrono>
#include <functional>

#include <benchmark/benchmark.h>

#include "bench/reference_models.h"

namespace thimble::bench {
namespace {

struct Layer {
  int64_t in, out;
};

struct Contender {
  std::string name;
  std::function<void()> run;
  std::vector<double> seconds = {};

  double median() {
    const auto middle = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
    std::nth_element(seconds.begin(), middle, seconds.end());
    return *middle;
  }
};

quant::QuantizationSpec weights(int bits, int64_t group_size) {
  return {.bits = bits, .is_signed = true, .scheme = quant::QScheme::symmetric, .axis = 0, .group_size = group_size};
}

// Several calls at a time: one is shorter than the clock is exact.
void compete(benchmark::State& state, std::vector<Contender> contenders) {
  constexpr int kCalls = 20;
  const NoGrad guard;
  for (auto _ : state) {
    double total = 0;
    for (Contender& c : contenders) {
      const auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < kCalls; ++i) c.run();
      c.seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / kCalls);
      total += c.seconds.back();
    }
    state.SetIterationTime(total);
  }
  for (Contender& c : contenders) state.counters[c.name + "_us"] = c.median() * 1e6;
}

Contender running(const std::string& name, std::shared_ptr<nn::Graph> graph, const Tensor& x) {
  return {name, [graph, x] { benchmark::DoNotOptimize((*graph)(x)); }};
}

std::shared_ptr<nn::Graph> shared(nn::Graph graph) { return std::make_shared<nn::Graph>(std::move(graph)); }

constexpr struct {
  const char* name;
  int bits;
  int64_t group_size;
} kVariants[] = {{"w8", 8, 0}, {"w4", 4, 0}, {"w4_g128", 4, 128}, {"w4_g32", 4, 32}, {"w2", 2, 0}};

void whole_model(benchmark::State& state) {
  set_num_threads(static_cast<int>(state.range(1)));
  const Reference& mlp = kReferences[0];
  const Tensor x = images(mlp, state.range(0));
  const nn::Graph float32 = float_graph(mlp);
  std::vector<Contender> contenders{running("float32", shared(float32.clone()), x),
                                    running("int8", shared(int8_graph(mlp)), x)};
  for (const auto& v : kVariants)
    if (v.group_size != 128 && v.group_size != 32)  // they do not divide the input's 400 features
      contenders.push_back(running(
          v.name,
          shared(quant::quantize_weight_only(
              float32, quant::QConfigMapping().set_global(quant::QConfig{.weight = weights(v.bits, v.group_size)}))),
          x));
  compete(state, std::move(contenders));
}

// One layer: the kernels alone, for an int8 graph would quantize its input and convert its output, which layers within
// a model do not.
void one_layer(benchmark::State& state, const Layer& layer) {
  set_num_threads(static_cast<int>(state.range(1)));
  Generator generator(1);
  manual_seed(0);
  const nn::Linear linear(layer.in, layer.out);
  const nn::ValueInfo floats{{state.range(0), layer.in}}, bytes{floats.shape, DType::uint8};
  const NDArray x = rand(floats.shape, generator), q(bytes.shape, DType::uint8);
  NDArray out({state.range(0), layer.out});
  std::vector<std::shared_ptr<nn::Module>> layers;
  std::vector<Contender> contenders;
  const auto add = [&](const std::string& name, const std::shared_ptr<nn::Module>& module, const nn::ValueInfo& info,
                       const NDArray& input) {
    const std::shared_ptr<nn::InferenceStep> step = module->inference_step(std::span(&info, 1));
    contenders.push_back({name, [step, input, out]() mutable {
                            const void* const inputs[] = {std::as_const(input).raw()};
                            step->run(inputs, out.raw(), nullptr);
                          }});
  };
  add("float32", std::make_shared<nn::Linear>(linear.weight, linear.bias), floats, x);
  const quant::TensorQParams activations{0.01f, 128, 8};
  add("int8", quant::QuantizedLinear::from_float(linear, weights(8, 0), activations, activations, false), bytes, q);
  for (const auto& v : kVariants)
    if (v.group_size == 0 || layer.in % v.group_size == 0)
      add(v.name, quant::WeightOnlyLinear::from_float(linear, weights(v.bits, v.group_size), false), floats, x);
  compete(state, std::move(contenders));
}

const bool registered = [] {
  const auto configure = [](benchmark::internal::Benchmark* b) {
    b->ArgNames({"batch", "threads"})->ArgsProduct({{1, 64}, {1, 2}})->Unit(benchmark::kMicrosecond)->UseManualTime();
  };
  configure(benchmark::RegisterBenchmark("weight_only/mlp1024", whole_model));
  for (const Layer layer : {Layer{400, 1024}, {1024, 1024}, {1024, 10}})
    configure(benchmark::RegisterBenchmark(str("weight_only/", layer.in, "x", layer.out).c_str(), one_layer, layer));
  return true;
}();

}  // namespace
}  // namespace thimble::bench
