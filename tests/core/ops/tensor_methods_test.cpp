// Tensor's methods, and changes in place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/core/ops.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using FloatValues = std::vector<float>;

FloatValues float_values_of(const Tensor& x) { return x.data().to_vector<float>(); }

void expect_same_tensor(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.shape(), b.shape());
  EXPECT_EQ(a.dtype(), b.dtype());
  EXPECT_EQ(float_values_of(a), float_values_of(b));
}

TEST(TensorMethods, AreTheOpsOfTheirNames) {
  Generator generator(1);
  const Tensor x = rand({2, 3, 4}, generator);
  expect_same_tensor(x.sum(), sum(x));
  expect_same_tensor(x.sum(1), sum(x, {1}));
  expect_same_tensor(sum(x, -1, true), sum(x, {-1}, true));
  expect_same_tensor(x.mean({0, 2}, true), mean(x, {0, 2}, true));
  expect_same_tensor(x.mean(-1), mean(x, {-1}));
  expect_same_tensor(x.mean({}), mean(x));
  expect_same_tensor(x.max(0), max(x, {0}));
  expect_same_tensor(x.min(0, true), min(x, {0}, true));
  EXPECT_EQ(x.argmax(2).data().to_vector<int64_t>(), argmax(x, 2).data().to_vector<int64_t>());
  expect_same_tensor(x.softmax(1), softmax(x, 1));
  expect_same_tensor(x.reshape({4, -1}), reshape(x, {4, 6}));
  expect_same_tensor(x.flatten(1), flatten(x, 1));
  expect_same_tensor(x.transpose(0, 2), transpose(x, 0, 2));
  expect_same_tensor(x.permute({2, 0, 1}), permute(x, {2, 0, 1}));
  expect_same_tensor(x.unsqueeze(0).squeeze(0), x);
  expect_same_tensor(x.unsqueeze(0).expand({5, -1, -1, -1}), broadcast_to(x, {5, 2, 3, 4}));
  EXPECT_EQ(x.to(DType::int64).dtype(), DType::int64);
  expect_same_tensor(x.matmul(x.transpose(1, 2)), matmul(x, transpose(x, 1, 2)));
  const Tensor y = x - 0.5;
  expect_same_tensor(y.abs(), abs(y));
  expect_same_tensor(y.exp(), exp(y));
  expect_same_tensor(x.log(), log(x));
  expect_same_tensor(x.sqrt(), sqrt(x));
  expect_same_tensor(y.relu(), relu(y));
  expect_same_tensor(y.sigmoid(), sigmoid(y));
  expect_same_tensor(y.tanh(), tanh(y));
}

TEST(InPlace, ChangesTheValuesForAllHandles) {
  const Tensor a = NDArray::from_vector<float>({1, 2, 3, 4}, {2, 2}), same = a;
  const NDArray row = a.data().slice(0, 0, 1);
  a += NDArray::from_vector<float>({10, 20});
  EXPECT_EQ(float_values_of(same), (FloatValues{11, 22, 13, 24}));
  EXPECT_EQ(row.to_vector<float>(), (FloatValues{11, 22}));
  ((a -= 1) *= 2) /= NDArray::from_vector<float>({2, 4}, {2, 1});
  EXPECT_EQ(float_values_of(same), (FloatValues{10, 21, 6, 11.5}));
  a += a;
  EXPECT_EQ(float_values_of(a), (FloatValues{20, 42, 12, 23}));
}

TEST(InPlace, IsRefusedWhereItWouldBeRecorded) {
  const Tensor w(NDArray::ones({2}), true), total = NDArray::zeros({2});
  EXPECT_THAT([&] { w += 1; }, ThrowsMessage<ValueError>(HasSubstr("write a = a + b")));
  EXPECT_THAT([&] { total *= w; }, ThrowsMessage<ValueError>(HasSubstr("write a = a * b")));
  EXPECT_EQ(float_values_of(total), (FloatValues{0, 0}));
  no_grad([&] { w *= 3; });
  EXPECT_EQ(float_values_of(w), (FloatValues{3, 3}));
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
