// Rows and bags of rows out of large tables: float32, 8 bits and 4 bits a number. All run in turn, so that a busy
// neighbour slows all; the best time of each index, in the mean. Each reads other rows, so that most come from memory.
// For an aligned table:
//
//   build/release/bench/embedding_bench --benchmark_counters_tabular=true
#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include <thimble/core/parallel.h>
#include <thimble/core/random.h>
#include <thimble/nn/inference/inference.h>
#include <thimble/nn/init.h>
#include <thimble/quant/layers/quantized_embedding.h>

namespace thimble::bench {
namespace {

constexpr int64_t kSamples = 64, kLength = 64;
constexpr size_t kCalls = 16;  // with an index each

struct Reader {
  std::string name;
  std::shared_ptr<nn::Module> layer;
  std::shared_ptr<nn::InferenceStep> step = nullptr;
  std::vector<double> best = std::vector<double>(kCalls, 1);  // seconds, of each index

  void run(const std::vector<NDArray>& indices, NDArray& out) {
    for (size_t call = 0; call < kCalls; ++call) {
      const void* const inputs[] = {indices[call].raw()};
      const auto start = std::chrono::steady_clock::now();
      step->run(inputs, out.raw(), nullptr);
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
      best[call] = std::min(best[call], taken.count());
    }
  }
  double mean() const { return std::accumulate(best.begin(), best.end(), 0.0) / static_cast<double>(kCalls); }
};

std::vector<NDArray> random_indices(int64_t rows) {
  Generator generator(1);
  std::vector<NDArray> indices;
  for (size_t call = 0; call < kCalls; ++call) {
    std::vector<int64_t> index(static_cast<size_t>(kSamples * kLength));
    for (int64_t& row : index) row = static_cast<int64_t>(generator.below(static_cast<uint64_t>(rows)));
    indices.push_back(NDArray::from_vector(index, {kSamples, kLength}));
  }
  return indices;
}

void read_rows(benchmark::State& state, int64_t rows, int64_t columns, bool bags) {
  set_num_threads(static_cast<int>(state.range(0)));
  manual_seed(1);
  const Tensor table(nn::init::normal({rows, columns}, 0, 1));
  std::vector<Reader> readers;
  if (bags) {
    const nn::EmbeddingBag bag(table, {.mode = BagMode::sum});
    readers = {{"float32", std::make_shared<nn::EmbeddingBag>(table, nn::EmbeddingBag::Options{BagMode::sum})},
               {"int8", quant::QuantizedEmbeddingBag::from_float(bag, 8)},
               {"int4", quant::QuantizedEmbeddingBag::from_float(bag, 4)}};
  } else {
    const nn::Embedding words(table);
    readers = {{"float32", std::make_shared<nn::Embedding>(table)},
               {"int8", quant::QuantizedEmbedding::from_float(words, 8)},
               {"int4", quant::QuantizedEmbedding::from_float(words, 4)}};
  }
  const std::vector<NDArray> indices = random_indices(rows);
  const nn::ValueInfo info{{kSamples, kLength}, DType::int64};
  for (Reader& reader : readers) reader.step = reader.layer->inference_step(std::span(&info, 1));
  NDArray out(readers[0].step->output().shape);
  for (auto _ : state)
    for (Reader& reader : readers) reader.run(indices, out);
  for (const Reader& reader : readers) state.counters[reader.name + "_us"] = reader.mean() * 1e6;
}

const bool registered_embeddings = [] {
  for (const bool bags : {false, true})
    for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{30000, 256}, {500000, 64}})
      benchmark::RegisterBenchmark(str(bags ? "bags/" : "rows/", rows, "x", columns).c_str(), read_rows, rows, columns,
                                   bags)
          ->ArgName("threads")
          ->Arg(1)
          ->Arg(2)
          ->Unit(benchmark::kMicrosecond);
  return true;
}();

}  // namespace
}  // namespace thimble::bench
