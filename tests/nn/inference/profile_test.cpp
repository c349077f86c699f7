#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/core/ops.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/inference/profile.h>
#include <thimble/nn/layers/batch_norm.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/linear.h>

namespace thimble::nn {
namespace {

struct ProfiledNet : Module {
  Submodule<Conv2d> conv{this, "conv", 3, 8, 3};
  Submodule<BatchNorm2d> bn{this, "bn", 8};
  Submodule<Linear> fc{this, "fc", 8, 4};
  Tensor forward(const Tensor& x) override { return fc(flatten(global_avg_pool2d(relu(bn(conv(x)))), 1)); }
};

Graph profiled_graph() {
  ProfiledNet net;
  return trace(net.eval(), randn({2, 3, 9, 9}, default_generator()));
}

TEST(Profile, NamesTheStepsThatRunAndWhatTheyTake) {
  const Graph graph = profiled_graph();
  const std::vector<StepTime> times = profile(graph, {randn({5, 3, 9, 9}, default_generator())}, 3);
  std::vector<std::string> names;
  for (const StepTime& time : times) {
    names.push_back(time.node);
    EXPECT_GT(time.seconds, 0) << time.node;
  }
  // Normalization and relu are the convolution's; flatten moves nothing.
  EXPECT_THAT(names, testing::ElementsAre("conv", "adaptive_avg_pool2d", "fc"));
}

TEST(Profile, RefusesWhatItCannotRun) {
  Graph graph = profiled_graph();
  const Tensor x = randn({5, 3, 9, 9}, default_generator());
  EXPECT_THROW(profile(graph, {x}, 0), ValueError);
  EXPECT_THROW(profile(graph, {x, x}, 1), ValueError);
  EXPECT_THROW(profile(graph, {randn({5, 4, 9, 9}, default_generator())}, 1), ShapeError);
  graph.train();
  EXPECT_THROW(profile(graph, {x}, 1), ValueError);
}

}  // namespace
}  // namespace thimble::nn
