// Our float32 products beside OpenBLAS's, for shapes of training steps and square ones, of every layout.
#include <benchmark/benchmark.h>

#include <thimble/core/kernels/gemm/blas_gemm.h>
#include <thimble/core/kernels/gemm/gemm.h>
#include <thimble/core/parallel.h>
#include <thimble/core/random.h>

namespace {

using namespace thimble;
using kernels::MatrixView;

struct Shape3 {
  const char* name;
  int64_t m, n, k;
  bool a_transposed, b_transposed;
  kernels::SumOrder order = kernels::SumOrder::in_turn;
};

constexpr auto kInShards = kernels::SumOrder::in_shards;
constexpr Shape3 kShapes[] = {
    {"mlp1024/forward", 64, 1024, 1024, false, true},
    {"mlp1024/forward_first", 64, 1024, 400, false, true},
    {"mlp1024/forward_last", 64, 10, 1024, false, true},
    {"mlp1024/input_gradient", 64, 1024, 1024, false, false},
    {"mlp1024/weight_gradient", 1024, 1024, 64, true, false, kInShards},
    {"mlp1024/weight_gradient_in_turn", 1024, 1024, 64, true, false},
    {"mlp1024/weight_gradient_first", 1024, 400, 64, true, false, kInShards},
    {"mlp1024/weight_gradient_last", 10, 1024, 64, true, false, kInShards},
    {"mlp128/forward", 64, 128, 784, false, true},
    {"mlp128/forward_middle", 64, 128, 128, false, true},
    {"mlp128/input_gradient", 64, 128, 128, false, false},
    {"mlp128/weight_gradient", 128, 784, 64, true, false, kInShards},
    {"square256", 256, 256, 256, false, false},
    {"square1024", 1024, 1024, 1024, false, false},
    {"square1024/b_transposed", 1024, 1024, 1024, false, true},
    {"square1024/a_transposed", 1024, 1024, 1024, true, false},
    {"square1000", 1000, 1000, 1000, false, false},
    {"long_sum", 128, 128, 65536, true, false, kInShards},
    {"vector/forward", 1, 1024, 1024, false, true},
    {"vector/plain", 1, 1024, 1024, false, false},
    {"attention/scores", 64, 64, 32, false, true},
};

MatrixView<float> view(const NDArray& x, int64_t rows, int64_t cols, bool transposed) {
  return transposed ? MatrixView<float>{x.data<float>(), rows, cols, 1, rows}
                    : MatrixView<float>{x.data<float>(), rows, cols, cols, 1};
}

void product(benchmark::State& state, const Shape3& s, bool ours) {
  set_num_threads(static_cast<int>(state.range(0)));
  Generator generator(1);
  const NDArray a = randn({s.m, s.k}, generator), b = randn({s.k, s.n}, generator);
  NDArray c({s.m, s.n});
  const auto av = view(a, s.m, s.k, s.a_transposed), bv = view(b, s.k, s.n, s.b_transposed);
  for (auto _ : state) {
    if (ours)
      kernels::gemm<float>(av, bv, c.data<float>(), {}, s.order);
    else
      kernels::blas_gemm<float>(av, bv, c.data<float>(), {}, true);
  }
  state.counters["GFLOP/s"] =
      benchmark::Counter(2e-9 * static_cast<double>(s.m * s.n * s.k), benchmark::Counter::kIsIterationInvariantRate);
}

const bool registered = [] {
  for (const Shape3& shape : kShapes)
    for (const bool ours : {true, false})
      benchmark::RegisterBenchmark((std::string(shape.name) + (ours ? "/thimble" : "/openblas")).c_str(), product,
                                   shape, ours)
          ->ArgName("threads")
          ->Arg(1)
          ->Arg(2)
          ->UseRealTime();
  return true;
}();

}  // namespace
