// A training step in float32 and in bfloat16: time, and the most memory that it has in use.
#include <benchmark/benchmark.h>

#include "bench/reference_models.h"
#include "bench/resnet18.h"

namespace thimble::bench {
namespace {

struct Subject {
  std::string name;
  std::unique_ptr<nn::Module> (*make)();
  Shape images;
};

template <size_t kNumber>
Subject subject_of() {
  const Reference& reference = kReferences[kNumber];
  Shape shape = input_shape(reference);
  shape.insert(0, reference.training_batch);
  return {reference.name, [] { return make(kReferences[kNumber]); }, shape};
}

std::unique_ptr<nn::Module> seeded_resnet18() {
  manual_seed(0);
  return resnet18();
}

void mixed_precision_step(benchmark::State& state, const Subject& subject, DType precision) {
  set_num_threads(static_cast<int>(state.range(0)));
  const auto model = subject.make();
  optim::SGD sgd(model->parameters(), {.lr = 1e-3, .momentum = 0.9});
  Generator generator(1);
  const Tensor x = rand(subject.images, generator);
  NDArray labels({subject.images[0]}, DType::int64);
  for (int64_t i = 0; i < labels.numel(); ++i) labels.data<int64_t>()[i] = i % 10;
  const Tensor y(labels);
  const auto step = [&] {
    const Autocast guard(precision);
    const Tensor loss = cross_entropy((*model)(x), y);
    sgd.zero_grad();
    loss.backward();
    sgd.step();
  };
  step();
  reset_peak_allocated_bytes();
  for (auto _ : state) step();
  state.counters["peak_MB"] = static_cast<double>(peak_allocated_bytes()) / 1e6;
}

const bool mixed_precision_registered = [] {
  for (const Subject& subject :
       {subject_of<0>(), subject_of<2>(), subject_of<3>(), Subject{"resnet18", seeded_resnet18, {64, 3, 32, 32}}})
    for (const DType precision : {DType::float32, DType::bfloat16})
      benchmark::RegisterBenchmark(str("mixed_precision/", subject.name, '/', name(precision)).c_str(),
                                   mixed_precision_step, subject, precision)
          ->ArgName("threads")
          ->Arg(1)
          ->Arg(2)
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime()
          ->MeasureProcessCPUTime();
  return true;
}();

}  // namespace
}  // namespace thimble::bench
