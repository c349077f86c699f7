// In which order programs take images: what is permuted first of all is not copied before.
#include <gtest/gtest.h>

#include "tests/nn/op_cases.h"
#include "tests/nn/random_input.h"
#include <thimble/core/ops.h>
#include <thimble/core/parallel.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/inference/step_list.h>

namespace thimble::nn {
namespace {

struct OrderCase {
  const char* name;
  std::function<Tensor(const Tensor&)> function;
  size_t steps;
  bool in_order;  // whether the input is wanted in row-major order
};

const OrderCase kOrderCases[] = {
    {"pixels with their channels",
     [](const Tensor& x) {
       return max_pool2d(permute(x, {0, 3, 1, 2}), 2);
     },
     1, true},
    {"an op before",
     [](const Tensor& x) {
       return max_pool2d(permute(sigmoid(x), {0, 3, 1, 2}), 2);
     },
     2, true},
    {"transposed twice", [](const Tensor& x) { return max_pool2d(transpose(transpose(x, 2, 3), 1, 2), 2); }, 1, true},
    {"rows of another length",
     [](const Tensor& x) {
       return softmax(reshape(x, {-1, 12, 20}), -1);
     },
     1, true},
    {"an image", [](const Tensor& x) { return max_pool2d(x, 2); }, 1, false},
    {"the other way round",
     [](const Tensor& x) {
       return max_pool2d(permute(x, {0, 2, 3, 1}), 2);
     },
     2, false},
    {"read by another, too",
     [](const Tensor& x) {
       return max_pool2d(permute(x, {0, 3, 1, 2}), 2) + mean(max_pool2d(x, 2));
     },
     5, false},
};

TEST(InputOrder, ImagesThatArePermutedFirstAreReadAsTheyAre) {
  const int threads = num_threads();
  for (const OrderCase& c : kOrderCases) {
    SCOPED_TRACE(c.name);
    const Tensor x = random({5, 6, 8, 5}, 3);
    OpModel model(c.function);
    Graph graph = trace(model.eval(), x);
    SharedState shared;
    const StepList list = make_steps(graph, {ValueInfo{x.shape()}}, shared);
    EXPECT_EQ(list.steps.size(), c.steps);
    EXPECT_EQ(list.values[list.inputs[0].value].info.strides.empty(), !c.in_order);
    const NoGrad guard;
    const std::vector<float> expected = model(x).data().to_vector<float>();
    for (const int count : {1, 3}) {
      set_num_threads(count);
      EXPECT_EQ(graph(x).data().to_vector<float>(), expected);
      const Tensor strided(x.data().permute({0, 2, 3, 1}).contiguous().permute({0, 3, 1, 2}));
      EXPECT_EQ(graph(strided).data().to_vector<float>(), expected);
    }
  }
  set_num_threads(threads);
}

TEST(InputOrder, AnInputThatIsAnOutputToo) {
  Graph graph;
  Node* input = graph.add_input("x");
  Node* moved = graph.add_op("y", "permute", Attributes{{"axes", std::vector<int64_t>{0, 3, 1, 2}}}, {input});
  graph.set_outputs({{"y", moved}, {"x", input}});
  graph.eval();
  const Tensor x = random({2, 3, 4, 5}, 3);
  const NoGrad guard;
  const std::vector<Tensor> y = graph.call_outputs(std::vector{x});
  EXPECT_EQ(y[0].data().to_vector<float>(), x.data().permute({0, 3, 1, 2}).to_vector<float>());
  EXPECT_EQ(y[1].data().to_vector<float>(), x.data().to_vector<float>());
}

}  // namespace
}  // namespace thimble::nn
