#include <cmath>

#include <gtest/gtest.h>

#include <thimble/core/ops/matmul.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/training/evaluate.h>

namespace thimble {
namespace {

// Image i is one-hot at i % 4; its label is i % 3.
class Toy : public data::Dataset {
 public:
  explicit Toy(int64_t size) : size_(size) {}
  int64_t size() const override { return size_; }

 private:
  data::Batch make(std::span<const int64_t> indices, const Generator&) const override {
    NDArray images = NDArray::zeros({std::ssize(indices), 4}), labels({std::ssize(indices)}, DType::int64);
    for (int64_t i = 0; i < std::ssize(indices); ++i) {
      const int64_t example = indices[static_cast<size_t>(i)];
      images.data<float>()[4 * i + example % 4] = 1;
      labels.data<int64_t>()[i] = example % 3;
    }
    return data::Batch({{"image", images}, {"label", labels}});
  }
  int64_t size_;
};

TEST(Evaluate, CountsOverAllBatchesAndKeepsTheMode) {
  NDArray identity = NDArray::zeros({4, 4});
  for (int i = 0; i < 4; ++i) identity.data<float>()[5 * i] = 1;
  nn::Linear model(identity, Tensor());
  for (int64_t batch : {1, 5, 100}) {
    const Evaluation e = evaluate(model, Toy(24), batch);
    // i % 4 == i % 3 for 0, 1, 2 of every 12.
    EXPECT_DOUBLE_EQ(e.accuracy, 0.25);
    EXPECT_EQ(e.images, 24);
    const double hit = std::log(3 + std::exp(1.0)) - 1, miss = hit + 1;
    EXPECT_NEAR(e.loss, 0.25 * hit + 0.75 * miss, 1e-6);
  }
  EXPECT_TRUE(model.training());
  EXPECT_DOUBLE_EQ(accuracy(model, Toy(24)), 0.25);
}

TEST(Evaluate, RejectsWhatIsNotAClassifier) {
  nn::Linear model(4, 4);
  EXPECT_THROW(evaluate(model, Toy(0)), ValueError);
  EXPECT_THROW(count_correct(NDArray::zeros({3, 2}), NDArray::zeros({4}, DType::int64)), ShapeError);
}

TEST(Evaluate, RestoresTheModeOfEachPart) {
  nn::Sequential model(nn::Linear(4, 4), nn::Linear(4, 4));
  const auto frozen = model.children().front().second;
  frozen->eval();
  evaluate(model, Toy(4));
  EXPECT_TRUE(model.training());
  EXPECT_FALSE(frozen->training());
  EXPECT_TRUE(model.children().back().second->training());
}

}  // namespace
}  // namespace thimble
