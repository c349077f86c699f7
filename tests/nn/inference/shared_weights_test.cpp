#include <cstdio>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/core/views.h"
#include "tests/nn/random_input.h"
#include "tests/serialization/files.h"
#include <thimble/core/ops.h>
#include <thimble/core/platform/mapped_file.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/inference/executor.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/linear.h>

namespace thimble::nn {
namespace {

int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t all = 0, resident = 0;
  statm >> all >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

TEST(SharedWeights, AreMadeOnceWhileSomebodyHoldsThem) {
  SharedWeights weights;
  int made = 0;
  const auto get = [&](const SharedWeights::Key& key) { return weights.get<int>(key, [&] { return ++made; }); };
  auto first = get({1}), again = get({1}), other = get({2});
  EXPECT_EQ(first, again);
  EXPECT_EQ(*other, 2);
  EXPECT_EQ(made, 2);
  first = again = nullptr;
  EXPECT_EQ(*get({1}), 3);
  EXPECT_EQ(*get({2}), 2);
}

// What layers have the same memory for their weights have the same packed weights.
TEST(SharedWeights, OfOneMemoryAreOne) {
  const NDArray weight = NDArray::ones({3, 4});
  WeightsOfMemory first, second, third;
  EXPECT_NE(first.of(weight), nullptr);
  EXPECT_EQ(first.of(weight), first.of(weight));
  EXPECT_EQ(second.of(weight.lazy_clone()), first.of(weight));
  EXPECT_NE(second.of(NDArray::ones({3, 4})), first.of(weight));
  // Who holds it besides and is not known to copy first could write to it.
  const NDArray held = NDArray::ones({3, 4}), handle = held;
  EXPECT_EQ(third.of(held), nullptr);
  EXPECT_EQ(third.of(weight.slice(1, 0, 2)), nullptr);
}

// Memory stays as long as what is known by its address.
TEST(SharedWeights, OfMemoryThatIsGoneAreGone) {
  WeightsOfMemory layer, other;
  int made = 0;
  std::shared_ptr<const int> packed;
  for (int round = 0; round < 4; ++round) {
    const NDArray weight = NDArray::ones({64, 64});  // where that of the round before was, perhaps
    packed = layer.of(weight)->get<int>({1}, [&] { return ++made; });
    EXPECT_EQ(*packed, round + 1);
    EXPECT_EQ(other.of(weight)->get<int>({1}, [&] { return ++made; }), packed);
  }
}

// 17 MB of weights. A copy for each shape would be 270 MB.
TEST(SharedWeights, OneMoreShapeTakesNoMoreOfThem) {
  manual_seed(1);
  Sequential model(Linear(1024, 2048), ReLU(), Linear(2048, 1024));
  Graph graph = trace(model.eval(), random({1, 1024}));
  const NoGrad guard;
  const int64_t bytes = graph.num_parameters() * 4, before = resident_bytes();
  for (int64_t batch = 1; batch <= 16; ++batch) graph(random({batch, 1024}));
  EXPECT_LT(resident_bytes() - before, 2 * bytes);
}

// Taps that see nothing but padding are dropped, and a flattened image's rows lie otherwise: such weights are others.
TEST(SharedWeights, ThatDependOnTheShapeAreToldApart) {
  manual_seed(2);
  Sequential model(Conv2d(2, 3, 3, {.padding = 1}), Conv2d(3, 4, 3, {.padding = 1}));
  Graph graph = trace(model.eval(), random({1, 2, 4, 4}));
  const NoGrad guard;
  for (const Shape& shape :
       {Shape{2, 2, 1, 1}, Shape{2, 2, 1, 5}, Shape{2, 2, 4, 4}, Shape{2, 2, 5, 1}, Shape{1, 2, 1, 1}}) {
    const Tensor x = random(shape);
    const auto got = graph(x).data().to_vector<float>(),
               expected = graph.run_all(std::vector<Tensor>{x}).back().data().to_vector<float>();
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-5) << shape;
  }
}

TEST(SharedWeights, MoreShapesThanAreKeptGiveRightAnswers) {
  manual_seed(3);
  Sequential model(Linear(3, 4), ReLU());
  Graph graph = trace(model.eval(), random({1, 3}));
  const NoGrad guard;
  Executor executor(graph);
  const auto most = static_cast<int64_t>(Executor::kMostShapes);
  for (int round = 0; round < 2; ++round)
    for (int64_t batch = 1; batch <= most + 20; ++batch) {
      const Tensor x = random({batch, 3});
      expect_close(executor.run(graph, std::vector<Tensor>{x})[0].data(),
                   graph.run_all(std::vector<Tensor>{x}).back().data(), 1e-5);
    }
}

// The same values as part of a file, where no float is aligned.
NDArray unread_copy(const NDArray& array, const std::filesystem::path& path) {
  const NDArray dense = array.contiguous();
  write_bytes(path, 'x' + std::string(static_cast<const char*>(dense.raw()), static_cast<size_t>(dense.nbytes())));
  return NDArray::unread(std::make_shared<const MappedFile>(path), 1, array.shape(), array.dtype());
}

TEST(SharedWeights, ArePackedFromAFileThatStaysUnread) {
  const TempFolder folder;
  manual_seed(4);
  Sequential model(Conv2d(3, 20, 3, {.padding = 1}), ReLU(), Flatten(), Linear(20 * 8 * 8, 30));
  Graph graph = trace(model.eval(), random({1, 3, 8, 8}));
  const NoGrad guard;
  const Tensor x = random({2, 3, 8, 8});
  const auto expected = graph(x).data().to_vector<float>();
  Graph other = graph.clone();
  int unread = 0;
  for (const auto& [path, tensor] : other.state())
    if (path.ends_with("weight")) tensor.set_data(unread_copy(tensor.data(), folder / str("w", unread++)));
  ASSERT_EQ(unread, 2);
  EXPECT_EQ(other(x).data().to_vector<float>(), expected);
  for (const auto& [path, tensor] : other.state()) unread -= tensor.data().is_unread() ? 1 : 0;
  EXPECT_EQ(unread, 0);
}

}  // namespace
}  // namespace thimble::nn
