// Sums of so many terms that a running sum would lose digits, no longer grow, or leave its type.
#include <cmath>

#include <gtest/gtest.h>

#include <thimble/core/kernels/elementwise/long_sums.h>
#include <thimble/core/kernels/gemm/small_gemm.h>
#include <thimble/core/ops.h>
#include <thimble/core/platform/isa.h>

namespace thimble {
namespace {

// A running float32 sum of so many equal terms is several percent off.
constexpr int64_t kSide = 3000, kTerms = kSide * kSide;
constexpr float kTerm = 0.9f;
constexpr double kSum = double{kTerm} * static_cast<double>(kTerms);

void expect_sum(const NDArray& got) {
  for (double v : got.to_vector<double>()) EXPECT_NEAR(v / kSum, 1, 1e-4);
}

NDArray terms(const Shape& shape) { return NDArray::full(shape, kTerm); }

// As many values a little below as a little above kTerm, in turn along the first axis.
NDArray alternating(const Shape& shape) {
  NDArray x = terms(shape);
  x.slice(0, 0, shape[0], 2).fill(0.5);
  x.slice(0, 1, shape[0], 2).fill(1.5);
  return x;
}

// -1 and 1 in turn.
void expect_normalized(const NDArray& y) {
  const auto values = y.to_vector<float>();
  for (size_t i = 0; i < values.size(); i += values.size() / 100)
    ASSERT_NEAR(values[i], i % 2 == 0 ? -1 : 1, 1e-4) << i;
}

TEST(LongSums, OfReductionsAreRight) {
  const Tensor x = terms({kTerms}), tall = terms({kTerms / 3, 3});
  expect_sum(sum(x).data());
  expect_sum((sum(tall, {0}) * 3).data());
  expect_sum((sum(transpose(tall, 0, 1), {1}) * 3).data());
  expect_sum((sum(slice(tall, 1, 0, 1), {0}) * 3).data());
  EXPECT_NEAR(mean(x).item<float>(), kTerm, 1e-5);
  EXPECT_NEAR(var(Tensor(alternating({kTerms})), {}, false, 0).item<float>(), 0.25, 1e-5);
  EXPECT_NEAR(logsumexp(x).item<float>(), kTerm + std::log(static_cast<double>(kTerms)), 1e-4);
}

TEST(LongSums, OfSoftmaxAndLossesAreRight) {
  EXPECT_NEAR(softmax(terms({1, kTerms}), 1).data().data<float>()[7] * static_cast<double>(kTerms), 1, 1e-4);
  const Tensor logits(NDArray::zeros({kTerms / 3, 3}), true);
  const Tensor loss = cross_entropy(logits, NDArray::zeros({kTerms / 3}, DType::uint8));
  EXPECT_NEAR(loss.item<float>(), std::log(3), 1e-5);
  expect_sum((mse_loss(Tensor(terms({kTerms})), Tensor(NDArray::zeros({kTerms})), Reduction::sum) / kTerm).data());
}

TEST(LongSums, OfProductsAreRight) {
  const Tensor row = terms({1, kTerms}), ones = NDArray::ones({kTerms, 1}), two = NDArray::ones({kTerms, 2});
  expect_sum(matmul(row, ones).data());
  expect_sum(matmul(row, two).data());
  expect_sum(matmul(transpose(two, 0, 1), Tensor(terms({kTerms, 3}))).data());
}

TEST(LongSums, OfSmallProductsAreRightOnEveryMachine) {
  const NDArray a = terms({kTerms}), b = NDArray::ones({kTerms});
  const Isa before = active_isa();
  for (Isa isa : available_isas()) {
    set_isa(isa);
    NDArray c = NDArray::full({1}, 1), bias = NDArray::full({1}, -1);
    kernels::SmallGemm<float> task{.m = 1,
                                   .n = 1,
                                   .k = kTerms,
                                   .a = a.data<float>(),
                                   .a_row = kTerms,
                                   .a_col = 1,
                                   .b = b.data<float>(),
                                   .ldb = 1,
                                   .c = c.data<float>(),
                                   .ldc = 1,
                                   .accumulate = true,
                                   .epilogue = kernels::bias_epilogue(bias.data<float>(), true)};
    kernels::small_gemm(task);
    expect_sum(c);
    // The same in segments of two lengths: some to a chain, and each of several chains.
    for (const int64_t segments : {int64_t{9000}, int64_t{9}}) {
      std::vector<int64_t> begins;
      for (int64_t s = 0; s < segments; ++s) begins.push_back(s * (kTerms / segments));
      task.k = kTerms / segments;
      task.segments = begins.data();
      task.segment_count = segments;
      task.accumulate = false;
      kernels::small_gemm(task);
      expect_sum(c);
    }
  }
  set_isa(before);
}

// Weight and bias gradients: of one large image, of many small ones, and channel by channel.
TEST(LongSums, OfConvolutionsGradientsAreRight) {
  for (const Shape& shape :
       {Shape{1, 1, kSide, kSide}, Shape{kTerms / 100, 1, 10, 10}, Shape{1, 2, kSide, kSide}, Shape{1, 1, 1, kTerms}}) {
    const Conv2dOptions options{.groups = shape[1]};
    const Tensor w(NDArray::ones({shape[1], 1, 1, 1}), true), bias(NDArray::zeros({shape[1]}), true);
    sum(conv2d(Tensor(terms(shape)), w, bias, options)).backward();
    expect_sum(w.grad().data());
    EXPECT_EQ(bias.grad().data().to_vector<float>(), std::vector<float>(static_cast<size_t>(shape[1]), kTerms));
  }
}

TEST(LongSums, OfPoolsAreRightOnEveryMachine) {
  const Isa before = active_isa();
  for (Isa isa : available_isas()) {
    set_isa(isa);
    for (const Shape& shape : {Shape{1, 1, kSide, kSide}, Shape{1, 1, kTerms, 1}, Shape{1, 1, 1, kTerms},
                               Shape{1, 17, kSide / 3, kSide / 3}})
      for (float v : global_avg_pool2d(terms(shape)).data().to_vector<float>()) EXPECT_NEAR(v, kTerm, 1e-4);
  }
  set_isa(before);
}

TEST(LongSums, OfQuantizedPoolsAreExact) {
  const NDArray largest = NDArray::full({1, 1, 2902, 2902}, 255, DType::uint8);
  EXPECT_EQ(global_avg_pool2d(largest).data().to_vector<uint8_t>(), std::vector<uint8_t>{255});
  NDArray tie = NDArray::full({1, 1, 4000, 4000}, 254, DType::uint8);
  tie.slice(2, 0, 2000).fill(255);
  EXPECT_EQ(global_avg_pool2d(tie).data().to_vector<uint8_t>(), std::vector<uint8_t>{254});  // half to even
  tie.slice(2, 2000, 2001).slice(3, 0, 1).fill(255);
  EXPECT_EQ(global_avg_pool2d(tie).data().to_vector<uint8_t>(), std::vector<uint8_t>{255});
}

TEST(LongSums, OfNormalizationsAreRight) {
  const Tensor x(alternating({kTerms, 1}), true), weight(NDArray::ones({1}), true), bias(NDArray::zeros({1}), true);
  const Tensor y = batch_norm(x, weight, bias, {}, {}, {.training = true});
  expect_normalized(y.data());
  y.backward(Tensor(terms({kTerms, 1})));
  expect_sum(bias.grad().data());
  expect_normalized(layer_norm(reshape(x.detach(), {1, kTerms}), {kTerms}).data());
}

TEST(LongSums, OfBagsAreRight) {
  const Tensor weight = terms({2, 1}), index = NDArray::zeros({1, kTerms}, DType::int64);
  expect_sum(embedding_bag(index, weight, {.mode = BagMode::sum}).data());
  EXPECT_NEAR(embedding_bag(index, weight).item<float>(), kTerm, 1e-5);
}

TEST(LongSums, OfIndexedGradientsAreRight) {
  const Tensor weight(NDArray::zeros({2, 1}), true), x(NDArray::zeros({2}), true);
  const Tensor index = NDArray::zeros({kTerms}, DType::int64);
  embedding(index, weight).backward(Tensor(terms({kTerms, 1})));
  expect_sum(weight.grad().data().slice(0, 0, 1));
  weight.set_grad({});
  embedding_bag(reshape(index, {kTerms, 1}), weight, {.mode = BagMode::sum}).backward(Tensor(terms({kTerms, 1})));
  expect_sum(weight.grad().data().slice(0, 0, 1));
  gather(x, 0, index).backward(Tensor(terms({kTerms})));
  expect_sum(x.grad().data().slice(0, 0, 1));
}

TEST(LongSums, PaddingIsNoTermOfSumsByIndex) {
  std::vector<int64_t> index(10000, 1);
  index[0] = index[1] = index[2] = 0;
  for (const DType dtype : {DType::int64, DType::int32}) {
    const NDArray array = NDArray::from_vector(index).to(dtype);
    EXPECT_EQ(kernels::most_repeats(array, 3), 9997);
    EXPECT_EQ(kernels::most_repeats(array, 3, 1), 3);
  }
}

}  // namespace
}  // namespace thimble
