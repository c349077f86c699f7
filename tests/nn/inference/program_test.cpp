#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/views.h"
#include "tests/nn/random_input.h"
#include <thimble/core/ops.h>
#include <thimble/core/parallel.h>
#include <thimble/core/random.h>
#include <thimble/nn/inference/batched_program.h>
#include <thimble/nn/layers/linear.h>

namespace thimble::nn {
namespace {

using testing::ElementsAre;

// x [n,3] and y [n,2]: a linear layer of x, what becomes of it, and y.
struct TwoInputs {
  TwoInputs() {
    Node* x = graph.add_input("x");
    y = graph.add_input("y");
    fc = graph.add_layer("fc", std::make_shared<Linear>(3, 4), {x});
    exp = graph.add_op("exp", "exp", {}, {fc});
    flat = graph.add_op("flat", "flatten", {{"start_dim", int64_t{1}}, {"end_dim", int64_t{-1}}}, {exp});
    graph.set_output(graph.add_op("neg", "neg", {}, {flat}));
    graph.eval();
  }

  // The graph's steps with further outputs.
  StepList steps(const std::vector<ValueInfo>& infos, const std::vector<size_t>& further) {
    StepList list = make_steps(graph, infos, shared);
    for (const size_t value : further) list.outputs.push_back({str("value ", value), value});
    return list;
  }

  Graph graph;
  Node *y, *fc, *exp, *flat;
  SharedState shared;
};

std::vector<std::string> names(const std::vector<NamedValue>& values) {
  std::vector<std::string> all;
  for (const NamedValue& value : values) all.push_back(value.name);
  return all;
}

TEST(Program, NamesWhatItTakesAndGives) {
  TwoInputs two;
  const Program program(two.steps({{{5, 3}}, {{5, 2}}}, {}));
  EXPECT_THAT(names(program.inputs()), ElementsAre("x", "y"));
  EXPECT_THAT(names(program.outputs()), ElementsAre("neg"));
  EXPECT_EQ(program.inputs()[1].info.shape, (Shape{5, 2}));
  EXPECT_EQ(program.outputs()[0].info.shape, (Shape{5, 4}));
}

// Values that other steps go on with, a view, an argument, and one value twice.
TEST(Program, GivesAnyNumberOfItsValues) {
  manual_seed(1);
  TwoInputs two;
  const NoGrad guard;
  const int threads_before = num_threads();
  for (const int threads : {1, 3})
    for (const int64_t batch : {1, 7, 600}) {
      set_num_threads(threads);
      const Tensor x = random({batch, 3}), y = random({batch, 2});
      const std::vector<Tensor> inputs{x, y};
      const auto make = [&](const std::vector<ValueInfo>& infos) {
        // In the order in which the builder numbers them: x, y, fc, exp, flat, neg.
        return std::make_shared<const Program>(two.steps(infos, {2, 1, 4, 3, 2}));
      };
      const BatchedProgram program({info_of(x), info_of(y)}, make);
      std::vector<Tensor> outputs(6);
      WorkMemory memory;
      program.run(inputs, outputs, memory);
      const std::vector<Tensor> all = two.graph.run_all(inputs);
      const size_t wanted[] = {5, 2, 1, 4, 3, 2};
      for (size_t i = 0; i < outputs.size(); ++i) expect_close(outputs[i].data(), all[wanted[i]].data(), 1e-5);
    }
  set_num_threads(threads_before);
}

}  // namespace
}  // namespace thimble::nn
