// Tensor's methods, and changes in place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/core/ops.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using Floats = std::vector<float>;

Floats floats_of(const Tensor& x) { return x.data().to_vector<float>(); }

void expect_same(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.shape(), b.shape());
  EXPECT_EQ(a.dtype(), b.dtype());
  EXPECT_EQ(floats_of(a), floats_of(b));
}

TEST(TensorMethods, AreTheOpsOfTheirNames) {
  Generator generator(1);
  const Tensor x = rand({2, 3, 4}, generator);
  expect_same(x.sum(), sum(x));
  expect_same(x.sum(1), sum(x, {1}));
  expect_same(sum(x, -1, true), sum(x, {-1}, true));
  expect_same(x.mean({0, 2}, true), mean(x, {0, 2}, true));
  expect_same(x.mean(-1), mean(x, {-1}));
  expect_same(x.mean({}), mean(x));
  expect_same(x.max(0), max(x, {0}));
  expect_same(x.min(0, true), min(x, {0}, true));
  EXPECT_EQ(x.argmax(2).data().to_vector<int64_t>(), argmax(x, 2).data().to_vector<int64_t>());
  expect_same(x.softmax(1), softmax(x, 1));
  expect_same(x.reshape({4, -1}), reshape(x, {4, 6}));
  expect_same(x.flatten(1), flatten(x, 1));
  expect_same(x.transpose(0, 2), transpose(x, 0, 2));
  expect_same(x.permute({2, 0, 1}), permute(x, {2, 0, 1}));
  expect_same(x.unsqueeze(0).squeeze(0), x);
  expect_same(x.unsqueeze(0).expand({5, -1, -1, -1}), broadcast_to(x, {5, 2, 3, 4}));
  EXPECT_EQ(x.to(DType::int64).dtype(), DType::int64);
  expect_same(x.matmul(x.transpose(1, 2)), matmul(x, transpose(x, 1, 2)));
  const Tensor y = x - 0.5;
  expect_same(y.abs(), abs(y));
  expect_same(y.exp(), exp(y));
  expect_same(x.log(), log(x));
  expect_same(x.sqrt(), sqrt(x));
  expect_same(y.relu(), relu(y));
  expect_same(y.sigmoid(), sigmoid(y));
  expect_same(y.tanh(), tanh(y));
}

TEST(InPlace, ChangesTheValuesForAllHandles) {
  const Tensor a = NDArray::from_vector<float>({1, 2, 3, 4}, {2, 2}), same = a;
  const NDArray row = a.data().slice(0, 0, 1);
  a += NDArray::from_vector<float>({10, 20});
  EXPECT_EQ(floats_of(same), (Floats{11, 22, 13, 24}));
  EXPECT_EQ(row.to_vector<float>(), (Floats{11, 22}));
  ((a -= 1) *= 2) /= NDArray::from_vector<float>({2, 4}, {2, 1});
  EXPECT_EQ(floats_of(same), (Floats{10, 21, 6, 11.5}));
  a += a;
  EXPECT_EQ(floats_of(a), (Floats{20, 42, 12, 23}));
}

TEST(InPlace, IsRefusedWhereItWouldBeRecorded) {
  const Tensor w(NDArray::ones({2}), true), total = NDArray::zeros({2});
  EXPECT_THAT([&] { w += 1; }, ThrowsMessage<ValueError>(HasSubstr("write a = a + b")));
  EXPECT_THAT([&] { total *= w; }, ThrowsMessage<ValueError>(HasSubstr("write a = a * b")));
  EXPECT_EQ(floats_of(total), (Floats{0, 0}));
  no_grad([&] { w *= 3; });
  EXPECT_EQ(floats_of(w), (Floats{3, 3}));
  EXPECT_TRUE(w.requires_grad());
  // What needs the values of before for its gradient says so.
  const Tensor square = sum(w * w);
  no_grad([&] { w += 1; });
  EXPECT_THROW(square.backward(), ValueError);
}

TEST(InPlace, KeepsShapeAndDtype) {
  const Tensor a = NDArray::zeros({2}), wide = NDArray::zeros({3, 2}), doubles = NDArray::zeros({2}, DType::float64);
  EXPECT_THAT([&] { a += wide; }, ThrowsMessage<ShapeError>(HasSubstr("does not broadcast to a [2]")));
  EXPECT_THROW(a += doubles, DTypeError);
  const Tensor repeated = broadcast_to(a, {3, 2});
  EXPECT_THAT([&] { repeated += 1; }, ThrowsMessage<ValueError>(HasSubstr("share one memory")));
}

}  // namespace
}  // namespace thimble
