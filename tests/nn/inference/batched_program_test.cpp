// Programs that are called so often that they run on all threads or on one, by what takes less time.
#include <atomic>

#include <gtest/gtest.h>

#include "tests/nn/random_input.h"
#include <thimble/core/error.h>
#include <thimble/core/ops.h>
#include <thimble/core/parallel.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/inference/batched_program.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv_bn_relu.h>
#include <thimble/nn/layers/linear.h>

namespace thimble::nn {
namespace {

// Gives the number of pieces of a loop.
class CountPieces : public InferenceStep {
 public:
  CountPieces() : InferenceStep({.shape = {1}}) {}
  void run(std::span<const void* const> inputs, void* output, uint8_t*) const override {
    check<ValueError>(*static_cast<const float*>(inputs[0]) == 0, "no");
    std::atomic<int> pieces{0};
    parallel_for(num_threads(), 1, [&](int64_t, int64_t) { ++pieces; });
    *static_cast<float*>(output) = static_cast<float>(pieces);
  }
};

class OftenCalled : public testing::Test {
 protected:
  OftenCalled() { set_num_threads(3); }
  ~OftenCalled() override { set_num_threads(before_); }

  int pieces(float x = 0) {
    WorkMemory memory;
    const std::vector<Tensor> inputs{Tensor(NDArray::full({1}, x))};
    std::vector<Tensor> outputs(1);
    program_.run(inputs, outputs, memory);
    return static_cast<int>(outputs[0].data().to_vector<float>()[0]);
  }
  int sum_of_pieces(int calls) {
    int sum = 0;
    for (int i = 0; i < calls; ++i) sum += pieces();
    return sum;
  }

  const std::vector<ValueInfo> infos_{{.shape = {1}}};
  const int before_ = num_threads();
  const BatchedProgram program_{std::make_shared<const Program>(single_step(std::make_unique<CountPieces>(), infos_))};
};

TEST_F(OftenCalled, SomeCallsAreTriedOnOneThread) {
  EXPECT_EQ(sum_of_pieces(64), 64 * 3);
  // Whatever the times: the four after the four.
  EXPECT_EQ(sum_of_pieces(4), 4 * 3);
  EXPECT_EQ(pieces(), 1);
}

// Calls whose loops run on one thread anyway are no trials, nor do they bring one nearer.
TEST_F(OftenCalled, NothingIsChosenWhereLoopsRunAloneAnyway) {
  {
    const OnThisThread alone;
    EXPECT_EQ(sum_of_pieces(70), 70);
  }
  std::atomic<int> inside{0};
  parallel_for(3, 1, [&](int64_t, int64_t) { inside += sum_of_pieces(70); });
  EXPECT_EQ(inside, 3 * 70 * 3);  // all pieces, one after the other
  EXPECT_EQ(sum_of_pieces(64), 64 * 3);
}

TEST_F(OftenCalled, AnotherNumberOfThreadsBeginsAnew) {
  sum_of_pieces(64);
  set_num_threads(2);
  EXPECT_EQ(sum_of_pieces(64), 64 * 2);
}

TEST_F(OftenCalled, CallsThatThrowLeaveTheThreadAsItWas) {
  sum_of_pieces(64);
  for (int i = 0; i < 16; ++i) {
    EXPECT_THROW(pieces(1), ValueError);
    EXPECT_FALSE(loops_run_alone());
  }
  // Nothing is known of their times.
  EXPECT_EQ(sum_of_pieces(100), 300);
}

TEST_F(OftenCalled, AGraphGivesTheSameBitsEachTime) {
  manual_seed(1);
  Sequential model(ConvBNReLU(3, 24, 3, Conv2d::Options{.padding = 1}),
                   ConvBNReLU(24, 32, 3, Conv2d::Options{.stride = 2}), Flatten(), Linear(32 * 13 * 13, 10));
  Graph graph = trace(model.eval(), random({1, 3, 28, 28}));
  const NoGrad guard;
  const Tensor x = random({1, 3, 28, 28}, 2);
  const auto bits = [&] { return graph(x).data().to_vector<float>(); };
  std::vector<float> expected;
  {
    const OnThisThread alone;
    expected = bits();
  }
  for (int i = 0; i < 150; ++i) ASSERT_EQ(bits(), expected) << i;
}

}  // namespace
}  // namespace thimble::nn
