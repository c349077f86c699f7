// A graph traced from a batch of one size runs on batches of any: no op takes the example's size into its attributes.
#include <functional>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "tests/nn/op_cases.h"
#include <thimble/core/ops.h>
#include <thimble/nn/graph/trace.h>

namespace thimble::nn {
namespace {

TEST(TraceBatch, EveryOpRunsOnBatchesOfAnySize) {
  for (const OpCase& c : op_cases()) {
    SCOPED_TRACE(c.name);
    auto batch = [&](int64_t n, uint64_t seed) {
      Shape shape = c.sample;
      shape.insert(0, n);
      return positive(shape, seed);
    };
    OpModel model(c.function);
    model.eval();
    Graph graph = trace(model, batch(2, 6));
    for (int64_t n : {2, 5, 1}) {
      if (n == 1 && c.name == "batch_norm_train") n = 3;
      const Tensor x = batch(n, 7), expected = model(x);
      NoGrad guard;
      const Tensor got = graph(x);
      EXPECT_EQ(got.shape(), expected.shape());
      const auto g = got.data().to_vector<double>(), e = expected.data().to_vector<double>();
      for (size_t i = 0; i < e.size(); ++i) ASSERT_NEAR(g[i], e[i], 1e-5 * (1 + std::abs(e[i])));
    }
  }
}

// What takes a second input of the batch's size.
TEST(TraceBatch, IndicesAndTargetsMayBeOfAnySize) {
  const std::map<std::string, std::function<Tensor(const Tensor&)>> functions{
      {"embedding", [w = random({9, 4}, 1)](const Tensor& index) { return embedding(index, w); }},
      {"embedding_bag", [w = random({9, 4}, 1)](const Tensor& i) { return embedding_bag(unsqueeze(i, 1), w); }},
      {"gather", [w = random({40, 9}, 2)](const Tensor& index) { return gather(w, 1, unsqueeze(index, 1)); }},
      {"cross_entropy", [w = random({9, 9}, 3)](const Tensor& t) { return cross_entropy(embedding(t, w), t); }},
      {"nll_loss", [w = random({9, 9}, 4)](const Tensor& t) { return nll_loss(embedding(t, w), t); }}};
  for (const auto& [name, function] : functions) {
    SCOPED_TRACE(name);
    OpModel model(function);
    model.eval();
    Graph graph = trace(model, NDArray::from_vector<int64_t>({1, 4}));
    const Tensor index = NDArray::from_vector<int64_t>({8, 0, 3, 3, 5});
    EXPECT_EQ(graph(index).data().to_vector<float>(), model(index).data().to_vector<float>());
  }
}

// A new op gets a case above, or its name here if no forward pass of a model applies it.
TEST(TraceBatch, KnowsEveryOp) {
  std::set<std::string> known{"embedding_bag", "embedding",     "gather",     "cross_entropy", "nll_loss",
                              "dropout",       "conv2d_weight", "sum_to",     "fake_quantize", "arange",
                              "nonzero",       "gather_nd",     "scatter_nd", "scatter",       "reverse_sequence"};
  known.insert({"quantize_linear", "dequantize_linear", "binary_cross_entropy"});  // quant's, and a loss
  for (const OpCase& c : op_cases()) known.insert(c.name);
  for (const std::string& op : registered_ops())
    EXPECT_TRUE(known.contains(op) || op.ends_with("_backward")) << op << " has no case";
}

}  // namespace
}  // namespace thimble::nn
