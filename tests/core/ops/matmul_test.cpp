#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/views.h"
#include <thimble/core/ops/matmul.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/parallel.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// The index into an operand of `shape` that takes part in the output's batch entry `out`, completed by row and column.
Shape operand_index(const Shape& shape, const Shape& out, int64_t row, int64_t col) {
  Shape index;
  const int extra = out.ndim() - shape.ndim();
  for (int d = 0; d + 2 < shape.ndim(); ++d) index.push_back(shape[d] == 1 ? 0 : out[d + extra]);
  index.push_back(row);
  index.push_back(col);
  return index;
}

// Products of operands that have at least two dimensions, term by term.
NDArray naive_matmul(const NDArray& a, const NDArray& b) {
  Shape shape = broadcast_shapes(Shape(std::span(a.shape().begin(), static_cast<size_t>(a.ndim() - 2))),
                                 Shape(std::span(b.shape().begin(), static_cast<size_t>(b.ndim() - 2))), "test");
  shape.push_back(a.shape(-2));
  shape.push_back(b.shape(-1));
  NDArray out(shape, DType::float64);
  int64_t i = 0;
  for_each_index(shape, [&](const Shape& index) {
    const int64_t row = index[index.ndim() - 2], col = index.back();
    double sum = 0;
    for (int64_t k = 0; k < a.shape(-1); ++k)
      sum += at(a, operand_index(a.shape(), index, row, k)) * at(b, operand_index(b.shape(), index, k, col));
    out.data<double>()[i++] = sum;
  });
  return out;
}

struct MatrixPair {
  Shape a, b;
};

const std::vector<MatrixPair> kPairs = {
    {{1, 1}, {1, 1}},       {{2, 3}, {3, 4}},       {{1, 5}, {5, 3}},          {{4, 5}, {5, 1}},
    {{3, 1}, {1, 4}},       {{2, 2, 3}, {3, 4}},    {{2, 2, 3}, {2, 3, 1}},    {{3, 1, 2, 3}, {2, 3, 2}},
    {{2, 3}, {3, 3, 2}},    {{1, 2, 3}, {4, 3, 2}}, {{2, 1, 1, 3}, {3, 3, 2}}, {{0, 3}, {3, 2}},
    {{2, 0}, {0, 3}},       {{2, 3}, {3, 0}},       {{0, 2, 3}, {3, 2}},       {{2, 2, 0}, {0, 2}},
    {{2, 0, 3}, {2, 3, 2}},
};

TEST(MatMul, EqualsTheSumOfProductsForEveryLayout) {
  Generator generator(1);
  for (const auto& [shape_a, shape_b] : kPairs)
    for (const NDArray& a : randn_layouts(shape_a, generator))
      for (const NDArray& b : randn_layouts(shape_b, generator)) {
        const NDArray out = matmul(a, b).data();
        expect_close(out, naive_matmul(a, b), 1e-12);
        EXPECT_TRUE(out.is_contiguous());
      }
}

TEST(MatMul, EqualsTheSumOfProductsForTransposedAndBroadcastViews) {
  Generator generator(2);
  for (int round = 0; round < 60; ++round) {
    auto size = [&] { return static_cast<int64_t>(1 + generator.below(round < 50 ? 12 : 150)); };
    const int64_t m = size(), k = size(), n = size();
    const DType dtype = round % 2 ? DType::float32 : DType::float64;
    const NDArray a = randn({m, k}, generator, dtype), at = randn({k, m}, generator, dtype).transpose(0, 1);
    const NDArray ab = randn({1, k}, generator, dtype).broadcast_to({m, k});
    const NDArray b = randn({k, n}, generator, dtype), bt = randn({n, k}, generator, dtype).transpose(0, 1);
    const NDArray bb = randn({k, 1}, generator, dtype).broadcast_to({k, n});
    for (const NDArray& left : {a, at, ab})
      for (const NDArray& right : {b, bt, bb})
        expect_close(matmul(left, right).data(), naive_matmul(left, right), dtype == DType::float32 ? 1e-4 : 1e-12);
  }
}

TEST(MatMul, VectorsTakePartAsInPyTorch) {
  Generator generator(3);
  const NDArray v = randn({3}, generator, DType::float64), a = randn({2, 4, 3}, generator, DType::float64),
                b = randn({2, 3, 5}, generator, DType::float64);
  EXPECT_EQ(matmul(v, v).shape(), Shape{});
  expect_close(matmul(a, v).data(), naive_matmul(a, v.unsqueeze(1)).squeeze(-1), 1e-12);
  expect_close(matmul(v, b).data(), naive_matmul(v.unsqueeze(0), b).squeeze(-2), 1e-12);
  const auto f = [](const std::vector<Tensor>& x) { return matmul(x[0], x[1]); };
  check_gradients(f, {v, randn_view({3}, generator)});
  check_gradients(f, {a, v});
  check_gradients(f, {v, b});
  check_gradients(f, {v, randn({3, 2}, generator, DType::float64)});
}

TEST(MatMul, GradientsAgreeWithDifferences) {
  Generator generator(4);
  for (const auto& [shape_a, shape_b] : kPairs)
    for (const NDArray& a : randn_layouts(shape_a, generator))
      for (const NDArray& b : randn_layouts(shape_b, generator))
        check_gradients([](const auto& x) { return matmul(x[0], x[1]); }, {a, b});
}

TEST(MatMul, ComputesNoGradientThatNobodyNeeds) {
  Generator generator(5);
  const Tensor x(randn({4, 3}, generator)), w(randn({3, 2}, generator), true);
  Tensor y = matmul(x, w);
  const NoGrad guard;
  const Tensor ones = NDArray::ones({4, 2});
  auto op = make_op("matmul", {});
  const std::vector<Tensor> grads = op->gradient(ones, y.inputs(), y);
  EXPECT_FALSE(grads[0].defined());
  EXPECT_TRUE(grads[1].defined());
}

TEST(MatMul, MisfitsAreRefusedWithTheirShapes) {
  EXPECT_THAT(
      [] {
        matmul(NDArray::ones({2, 3}), NDArray::ones({4, 2}));
      },
      ThrowsMessage<ShapeError>("matmul: inner dimensions of [2,3] and [4,2] differ"));
  EXPECT_THAT(
      [] {
        matmul(NDArray::ones({2, 2, 3}), NDArray::ones({3, 3, 2}));
      },
      ThrowsMessage<ShapeError>(HasSubstr("matmul")));
  EXPECT_THROW(matmul(NDArray::ones({}), NDArray::ones({1})), ShapeError);
  EXPECT_THROW(matmul(NDArray::ones({2, 2}), NDArray::ones({2, 2}, DType::float64)), DTypeError);
  EXPECT_THROW(matmul(NDArray::ones({2, 2}, DType::int32), NDArray::ones({2, 2}, DType::int64)), DTypeError);
  EXPECT_THROW(matmul(NDArray::ones({2, 2}, DType::bool_), NDArray::ones({2, 2}, DType::bool_)), DTypeError);
}

TEST(MatMul, OfIntegersIsExactModuloTheirWidth) {
  const NDArray a = NDArray::from_vector<int8_t>({100, -3, 7, 0, 5, -128}, {2, 3});
  const NDArray b = NDArray::from_vector<int8_t>({2, -1, 4, 9, 127, 1}, {3, 2});
  EXPECT_EQ(matmul(a, b).data().to_vector<int8_t>(), (std::vector<int8_t>{53, -120, -108, -83}));
  const NDArray huge = NDArray::from_vector<uint64_t>({uint64_t{1} << 63, 3}), twice = huge.unsqueeze(1);
  EXPECT_EQ(matmul(huge, twice).item<uint64_t>(), 9u);
  const NDArray batch = NDArray::arange(12, DType::int64).reshape({3, 2, 2}), one = NDArray::arange(4, DType::int64);
  EXPECT_EQ(matmul(batch.transpose(1, 2), one.reshape({2, 2})).data().to_vector<int64_t>(),
            matmul(batch.transpose(1, 2).to(DType::float64), one.reshape({2, 2}).to(DType::float64))
                .data()
                .to_vector<int64_t>());
}

struct LinearCase {
  Shape x;
  int64_t out;
};

const std::vector<LinearCase> kLinearCases = {{{1, 1}, 1}, {{1, 3}, 4},    {{5, 3}, 4}, {{5, 3}, 1},
                                              {{3}, 2},    {{0, 3}, 2},    {{2, 0}, 3}, {{2, 3, 4}, 5},
                                              {{2, 3}, 0}, {{1, 1, 3}, 2}, {{7, 1}, 3}, {{2, 1, 2}, 1}};

TEST(Linear, IsTheProductWithTheTransposedWeightPlusBias) {
  Generator generator(6);
  for (const auto& [shape, out_features] : kLinearCases) {
    const NDArray bias = randn({out_features}, generator, DType::float64);
    for (const NDArray& x : randn_layouts(shape, generator))
      for (const NDArray& w : randn_layouts({out_features, shape.back()}, generator)) {
        const Tensor expected = matmul(x, w.transpose(0, 1));
        expect_close(linear(x, w).data(), expected.data(), 1e-12);
        expect_close(linear(x, w, bias).data(), (expected + Tensor(bias)).data(), 1e-12);
      }
  }
}

TEST(Linear, GradientsAgreeWithDifferences) {
  Generator generator(7);
  for (const auto& [shape, out_features] : kLinearCases) {
    const NDArray bias = randn({out_features}, generator, DType::float64);
    for (const NDArray& x : randn_layouts(shape, generator))
      for (const NDArray& w : randn_layouts({out_features, shape.back()}, generator)) {
        check_gradients([](const auto& t) { return linear(t[0], t[1]); }, {x, w});
        check_gradients([](const auto& t) { return linear(t[0], t[1], t[2]); }, {x, w, bias});
      }
  }
}

TEST(Linear, TheWeightsGradientHasTheWeightsLayout) {
  Generator generator(8);
  Tensor w(randn({6, 4}, generator), true);
  sum(linear(randn({2, 3, 4}, generator), w)).backward();
  EXPECT_TRUE(w.grad().data().is_contiguous());
  EXPECT_EQ(w.grad().shape(), w.shape());
}

TEST(Linear, ThreadCountChangesOnlyTheRounding) {
  Generator generator(9);
  const int before = num_threads();
  for (const Shape& mnk : {Shape{64, 256, 300}, Shape{300, 10, 257}, Shape{1, 1030, 1024}, Shape{700, 1, 1024},
                           Shape{200, 200, 64}, Shape{33, 131, 257}}) {
    const NDArray x = randn({mnk[0], mnk[2]}, generator), w = randn({mnk[1], mnk[2]}, generator),
                  bias = randn({mnk[1]}, generator);
    set_num_threads(1);
    const NDArray one = linear(x, w, bias).data();
    expect_close(one, linear(x.to(DType::float64), w.to(DType::float64), bias.to(DType::float64)).data(), 1e-4);
    for (int threads : {2, 3}) {
      set_num_threads(threads);
      const NDArray many = linear(x, w, bias).data();
      expect_close(many, one, 1e-4);
      EXPECT_EQ(many.to_vector<float>(), linear(x, w, bias).data().to_vector<float>()) << "not reproducible";
    }
  }
  set_num_threads(before);
}

TEST(MatMul, BatchesAreTheSameForEveryThreadCount) {
  Generator generator(10);
  const int before = num_threads();
  for (int64_t n : {8, 130}) {
    const NDArray a = randn({5, n, n}, generator), b = randn({5, n, n}, generator);
    set_num_threads(1);
    const NDArray one = matmul(a, b).data();
    for (int threads : {2, 3}) {
      set_num_threads(threads);
      expect_close(matmul(a, b).data(), one, 1e-4);
    }
  }
  set_num_threads(before);
}

TEST(Linear, MisfitsAreRefusedWithTheirShapes) {
  const NDArray x = NDArray::ones({2, 3}), w = NDArray::ones({4, 3});
  EXPECT_THAT(
      [&] {
        linear(NDArray::ones({2, 5}), w);
      },
      ThrowsMessage<ShapeError>("linear: weight [4,3] expects 3 input features, got input [2,5]"));
  EXPECT_THAT([&] { linear(x, w, NDArray::ones({3})); }, ThrowsMessage<ShapeError>(HasSubstr("bias must be [4]")));
  EXPECT_THROW(linear(x, NDArray::ones({3})), ShapeError);
  EXPECT_THROW(linear(NDArray::ones({}), w), ShapeError);
  EXPECT_THROW(linear(x, NDArray::ones({4, 3}, DType::float64)), DTypeError);
}

TEST(Linear, OneSampleAndOneOutputHaveTheirGradients) {
  // The sum's gradient is one element broadcast with stride 0.
  Tensor x(NDArray::from_vector<float>({1, 2, 3}, {1, 3}), true),
      w(NDArray::from_vector<float>({4, 5, 6}, {1, 3}), true);
  sum(linear(x, w)).backward();
  EXPECT_EQ(x.grad().data().to_vector<float>(), (std::vector<float>{4, 5, 6}));
  EXPECT_EQ(w.grad().data().to_vector<float>(), (std::vector<float>{1, 2, 3}));
}

TEST(MatMul, OpsAreRemadeFromTheirNames) {
  Generator generator(11);
  const NDArray a = randn({2, 3}, generator), b = randn({3, 2}, generator), w = randn({4, 3}, generator);
  EXPECT_EQ(apply(make_op("matmul", {}), {a, b}).data().to_vector<float>(), matmul(a, b).data().to_vector<float>());
  EXPECT_EQ(apply(make_op("linear", {}), {a, w}).data().to_vector<float>(), linear(a, w).data().to_vector<float>());
}

}  // namespace
}  // namespace thimble
