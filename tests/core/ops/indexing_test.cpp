#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/views.h"
#include <thimble/core/ops/indexing.h>
#include <thimble/core/ops/shape.h>
#include <thimble/core/parallel.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// Random indices below `size`, repeats included, as a view that is not contiguous.
NDArray random_index(const Shape& shape, int64_t size, Generator& generator, DType dtype = DType::int64) {
  NDArray index = randn_view(shape, generator, dtype);
  for_each_index(shape, [&](const Shape& i) {
    NDArray element = index;
    for (int d = 0; d < i.ndim(); ++d) element = element.slice(d, i[d], i[d] + 1);
    element.fill(static_cast<double>(generator.below(static_cast<uint64_t>(size))));
  });
  return index;
}

const std::vector<Shape> kIndexedShapes = {{1}, {5}, {2, 3}, {1, 4}, {4, 1}, {2, 1, 3}, {2, 3, 4}};

TEST(Indexing, GatherTakesTheIndexedElementOfEachLine) {
  Generator generator(1);
  for (const Shape& shape : kIndexedShapes) {
    for (int axis = 0; axis < shape.ndim(); ++axis) {
      for (int round = 0; round < 3; ++round) {
        Shape picked;
        for (int d = 0; d < shape.ndim(); ++d)
          picked.push_back(static_cast<int64_t>(generator.below(static_cast<uint64_t>(shape[d]) + 1)) + (d == axis));
        const NDArray index = random_index(picked, shape[axis], generator, round == 1 ? DType::int32 : DType::int64);
        for (const NDArray& x : randn_layouts(shape, generator)) {
          const NDArray out = gather(x, axis - shape.ndim(), index).data();
          ASSERT_EQ(out.shape(), picked);
          for_each_index(picked, [&](Shape i) {
            const double value = at(out, i);
            i[axis] = static_cast<int64_t>(at(index, i));
            EXPECT_EQ(value, at(x, i));
          });
          check_gradients([&](const auto& t) { return gather(t[0], axis - shape.ndim(), index); }, {x});
        }
      }
    }
  }
}

TEST(Indexing, IndexSelectTakesSlices) {
  Generator generator(2);
  for (const Shape& shape : kIndexedShapes) {
    for (int axis = 0; axis < shape.ndim(); ++axis) {
      for (int64_t n : {0, 1, 6}) {
        const NDArray index = random_index({n}, shape[axis], generator, n == 1 ? DType::int32 : DType::int64);
        for (const NDArray& x : randn_layouts(shape, generator)) {
          const NDArray out = index_select(x, axis - shape.ndim(), index).data();
          ASSERT_EQ(out.shape(axis), n);
          for_each_index(out.shape(), [&](Shape i) {
            const double value = at(out, i);
            i[axis] = static_cast<int64_t>(at(index, {i[axis]}));
            EXPECT_EQ(value, at(x, i));
          });
          check_gradients([&](const auto& t) { return index_select(t[0], axis - shape.ndim(), index); }, {x});
        }
      }
    }
  }
}

TEST(Indexing, EmbeddingLooksUpRows) {
  Generator generator(3);
  for (const Shape& shape : std::vector<Shape>{{}, {4}, {0}, {2, 3}, {1, 2, 2}}) {
    for (int64_t dim : {0, 1, 3}) {
      const NDArray index = random_index(shape, 5, generator);
      for (const NDArray& weight : randn_layouts({5, dim}, generator)) {
        const NDArray out = embedding(index, weight).data();
        Shape expected = shape;
        expected.push_back(dim);
        ASSERT_EQ(out.shape(), expected);
        for_each_index(expected, [&](const Shape& i) {
          Shape which = i;
          which.erase(shape.ndim());
          EXPECT_EQ(at(out, i), at(weight, {static_cast<int64_t>(at(index, which)), i.back()}));
        });
        check_gradients([&](const auto& t) { return embedding(index, t[0]); }, {weight});
      }
    }
  }
}

TEST(Indexing, EmptyArraysGiveEmptyResults) {
  const NDArray none = NDArray::zeros({0}, DType::int64);
  EXPECT_EQ(index_select(NDArray::zeros({0, 3}), 0, none).shape(), (Shape{0, 3}));
  EXPECT_EQ(index_select(NDArray::zeros({4, 0}), 0, NDArray::zeros({2}, DType::int64)).shape(), (Shape{2, 0}));
  EXPECT_EQ(gather(NDArray::zeros({0, 3}), 0, NDArray::zeros({0, 2}, DType::int64)).shape(), (Shape{0, 2}));
}

TEST(Indexing, SelectsFromEveryDtype) {
  const NDArray index = NDArray::from_vector<int64_t>({2, 0, 2});
  for (DType dtype : kAllDTypes) {
    const NDArray x = NDArray::arange(6, dtype).reshape({3, 2});
    const auto expected = [&](const std::vector<int>& values) {
      return NDArray::from_vector(values).to(dtype).to_vector<int>();
    };
    EXPECT_EQ(index_select(x, 0, index).data().to_vector<int>(), expected({4, 5, 0, 1, 4, 5}));
    EXPECT_EQ(embedding(index, x).dtype(), dtype);
    EXPECT_EQ(gather(x, 0, index.reshape({3, 1})).data().to_vector<int>(), expected({4, 0, 4}));
  }
}

TEST(Indexing, GradientsAreTheSameBitsOnAnyNumberOfThreads) {
  Generator generator(4);
  const int before = num_threads();
  const NDArray rows = random_index({3000}, 7, generator), picks = random_index({300, 64}, 5, generator);
  const Tensor weight(randn({7, 65}, generator), true), x(randn({5, 64}, generator), true);
  const Tensor row_grads = randn({3000, 65}, generator), pick_grads = randn({300, 64}, generator);
  std::vector<std::vector<float>> first;
  for (int threads : {1, 2, 5}) {
    set_num_threads(threads);
    const std::vector<std::vector<float>> results = {
        grad(embedding(rows, weight), {weight}, row_grads)[0].data().to_vector<float>(),
        grad(index_select(weight, 0, rows), {weight}, row_grads)[0].data().to_vector<float>(),
        grad(gather(x, 0, picks), {x}, pick_grads)[0].data().to_vector<float>()};
    if (first.empty()) first = results;
    EXPECT_EQ(results, first);
  }
  set_num_threads(before);
}

TEST(Indexing, OpsAreMadeAgainFromTheirAttributes) {
  const NDArray x = NDArray::from_vector<float>({1, 2, 3, 4, 5, 6}, {3, 2}),
                index = NDArray::from_vector<int64_t>({2, 2});
  auto compute = [](const char* name, const Attributes& attributes, std::vector<NDArray> inputs) {
    const auto op = make_op(name, attributes);
    EXPECT_EQ(op->name(), name);
    EXPECT_EQ(op->attributes(), attributes);
    return op->compute(inputs).to_vector<float>();
  };
  const Attributes axis0{{"axis", int64_t{0}}};
  EXPECT_EQ(compute("gather", axis0, {x, index.reshape({1, 2})}), (std::vector<float>{5, 6}));
  EXPECT_EQ(compute("index_select", axis0, {x, index}), (std::vector<float>{5, 6, 5, 6}));
  EXPECT_EQ(compute("embedding", {}, {index, x}), (std::vector<float>{5, 6, 5, 6}));
  const NDArray grad = NDArray::from_vector<float>({1, 2, 10, 20}, {2, 2});
  EXPECT_EQ(compute("index_select_backward", {{"axis", int64_t{0}}, {"size", int64_t{3}}}, {grad, index}),
            (std::vector<float>{0, 0, 0, 0, 11, 22}));
  EXPECT_EQ(compute("gather_backward", {{"axis", int64_t{0}}, {"shape", std::vector<int64_t>{3, 2}}},
                    {grad, NDArray::from_vector<int64_t>({0, 1, 0, 2}, {2, 2})}),
            (std::vector<float>{11, 0, 0, 2, 0, 20}));
}

TEST(Indexing, MessagesNameTheOpAndTheNumbers) {
  const Tensor x = NDArray::zeros({2, 3});
  auto index = [](const std::vector<int64_t>& v, const Shape& shape) { return Tensor(NDArray::from_vector(v, shape)); };
  EXPECT_THAT(
      [&] {
        gather(x, 0, index({0, 2}, {1, 2}));
      },
      ThrowsMessage<ValueError>(HasSubstr("gather: index 2 (entry 1) is out of range for size 2")));
  EXPECT_THAT([&] { index_select(x, -1, index({-1}, {1})); },
              ThrowsMessage<ValueError>(HasSubstr("index_select: index -1 (entry 0) is out of range for size 3")));
  EXPECT_THAT([&] { embedding(index({5}, {1}), x); },
              ThrowsMessage<ValueError>(HasSubstr("embedding: index 5 (entry 0) is out of range for size 2")));
  EXPECT_THAT([&] { gather(x, 0, index({0}, {1})); },
              ThrowsMessage<ShapeError>(HasSubstr("gather: index [1] does not fit [2,3]")));
  EXPECT_THAT(
      [&] {
        gather(x, 0, index({0, 0, 0, 0}, {1, 4}));
      },
      ThrowsMessage<ShapeError>(HasSubstr("gather: index [1,4] does not fit [2,3]")));
  EXPECT_THAT(
      [&] {
        index_select(x, 0, index({0, 0}, {1, 2}));
      },
      ThrowsMessage<ShapeError>(HasSubstr("index_select: index must have 1 dimension, got [1,2]")));
  EXPECT_THAT([&] { index_select(x, 2, index({0}, {1})); },
              ThrowsMessage<ShapeError>(HasSubstr("index_select: axis 2")));
  EXPECT_THAT([&] { embedding(index({0}, {1}), NDArray::zeros({3})); },
              ThrowsMessage<ShapeError>(HasSubstr("embedding: weight must be [num_embeddings, dim], got [3]")));
  EXPECT_THAT([&] { index_select(x, 0, NDArray::zeros({1})); },
              ThrowsMessage<DTypeError>(HasSubstr("index_select: index must be int64 or int32, got float32")));
}

}  // namespace
}  // namespace thimble
