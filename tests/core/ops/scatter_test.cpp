#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/views.h"
#include <thimble/core/ops/indexing.h>
#include <thimble/core/ops/shape.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

NDArray whole_numbers(const std::vector<int64_t>& values, const Shape& shape) {
  return NDArray::from_vector(values, shape);
}

TEST(Take, PutsTheIndexsDimensionsInTheAxisPlace) {
  Generator generator(1);
  for (const NDArray& x : randn_layouts({2, 3, 4}, generator)) {
    const NDArray index = whole_numbers({0, -1, 2, -3, 1, 1}, {3, 2}), y = take(x, index, 1).data();
    ASSERT_EQ(y.shape(), (Shape{2, 3, 2, 4}));
    for_each_index(y.shape(), [&](const Shape& i) {
      const auto at_axis = static_cast<int64_t>(at(index, {i[1], i[2]}));
      EXPECT_EQ(at(y, i), at(x, {i[0], (at_axis + 3) % 3, i[3]}));
    });
    for (const int64_t axis : {0, 1, -1})
      check_gradients([&](const auto& t) { return take(t[0], whole_numbers({0, -1, 0}, {3}), axis); }, {x});
    EXPECT_EQ(take(x, whole_numbers({-1}, {}), 0).shape(), (Shape{3, 4}));
  }
  EXPECT_THAT([] { take(NDArray::zeros({2}), NDArray::full({1}, -3, DType::int64), 0); },
              ThrowsMessage<ValueError>(HasSubstr("take: index -3 (entry 0) is out of range for size 2")));
}

TEST(Gather, WrapsNegativeIndicesIfToldSo) {
  Generator generator(2);
  const NDArray x = randn({2, 3}, generator, DType::float64), index = whole_numbers({-1, 0, -3, 2}, {2, 2});
  const NDArray positive = whole_numbers({2, 0, 0, 2}, {2, 2});
  EXPECT_EQ(gather(x, 1, index, true).data().to_vector<double>(), gather(x, 1, positive).data().to_vector<double>());
  EXPECT_EQ(index.to_vector<int64_t>()[0], -1);  // the caller's array stays as it is
  check_gradients([&](const auto& t) { return gather(t[0], 1, index, true); }, {x});
  EXPECT_THROW(gather(x, 1, index), ValueError);
}

TEST(Scatter, WritesAndCombines) {
  const NDArray x = NDArray::from_vector<float>({1, 2, 3, 4}, {2, 2}), index = whole_numbers({0, 0, -1, 0}, {2, 2});
  const NDArray updates = NDArray::from_vector<float>({5, 6, 7, 8}, {2, 2});
  using Floats = std::vector<float>;
  const auto result = [&](ScatterReduction reduction) {
    return scatter(x, 1, index, updates, reduction).data().to_vector<float>();
  };
  EXPECT_EQ(result(ScatterReduction::none), (Floats{6, 2, 8, 7}));
  EXPECT_EQ(result(ScatterReduction::sum), (Floats{12, 2, 11, 11}));
  EXPECT_EQ(result(ScatterReduction::prod), (Floats{30, 2, 24, 28}));
  EXPECT_EQ(result(ScatterReduction::amax), (Floats{6, 2, 8, 7}));
  EXPECT_EQ(result(ScatterReduction::amin), (Floats{1, 2, 3, 4}));
  EXPECT_EQ(x.to_vector<float>(), (Floats{1, 2, 3, 4}));
  const NDArray bytes = NDArray::from_vector<uint8_t>({250, 1}), one = whole_numbers({0}, {1});
  EXPECT_EQ(scatter(bytes, 0, one, NDArray::full({1}, 10, DType::uint8), ScatterReduction::sum).data().to_vector<int>(),
            (std::vector<int>{4, 1}));
}

TEST(Scatter, GradientsGoWhereElementsCameFrom) {
  Generator generator(3);
  const NDArray index = whole_numbers({1, -1, 0, 2, 0, 1}, {3, 2});
  for (const NDArray& x : randn_layouts({3, 4}, generator)) {
    const NDArray updates = randn_view({3, 2}, generator);
    check_gradients([&](const auto& t) { return scatter(t[0], 1, index, t[1]); }, {x, updates});
    check_gradients([&](const auto& t) { return scatter(t[0], 1, index, t[1], ScatterReduction::sum); }, {x, updates});
  }
  // What is written over has none.
  const NDArray twice = whole_numbers({1, 0, 1, 1}, {4}), updates = randn_view({4}, generator);
  check_gradients([&](const auto& t) { return scatter(t[0], 0, twice, t[1]); }, {randn_view({3}, generator), updates});
  const Tensor x(NDArray::ones({2}), true);
  const Tensor y = scatter(x, 0, whole_numbers({0}, {1}), NDArray::ones({1}), ScatterReduction::prod);
  EXPECT_THAT([&] { y.backward(NDArray::ones({2})); },
              ThrowsMessage<ValueError>(HasSubstr("scatter: the reduction 'prod' has no gradient")));
}

TEST(GatherNd, ReadsSlicesByTheirCoordinates) {
  Generator generator(4);
  for (const NDArray& x : randn_layouts({2, 3, 4}, generator)) {
    const NDArray pairs = whole_numbers({0, 1, -1, 2, 1, -3}, {3, 2}), slices = gather_nd(x, pairs).data();
    ASSERT_EQ(slices.shape(), (Shape{3, 4}));
    for (int64_t j = 0; j < 4; ++j) {
      EXPECT_EQ(at(slices, {0, j}), at(x, {0, 1, j}));
      EXPECT_EQ(at(slices, {1, j}), at(x, {1, 2, j}));
      EXPECT_EQ(at(slices, {2, j}), at(x, {1, 0, j}));
    }
    const NDArray of_batch = whole_numbers({2, 0, 1, 1}, {2, 2, 1}), rows = gather_nd(x, of_batch, 1).data();
    ASSERT_EQ(rows.shape(), (Shape{2, 2, 4}));
    for_each_index(rows.shape(), [&](const Shape& i) {
      EXPECT_EQ(at(rows, i), at(x, {i[0], static_cast<int64_t>(at(of_batch, {i[0], i[1], 0})), i[2]}));
    });
    check_gradients([&](const auto& t) { return gather_nd(t[0], pairs); }, {x});
    check_gradients([&](const auto& t) { return gather_nd(t[0], of_batch, 1); }, {x});
  }
  EXPECT_THROW(gather_nd(NDArray::zeros({2, 3}), whole_numbers({0, 0, 0}, {1, 3})), ShapeError);
  EXPECT_THROW(gather_nd(NDArray::zeros({2, 3}), whole_numbers({2}, {1, 1})), ValueError);
}

TEST(ScatterNd, WritesWhatGatherNdReads) {
  Generator generator(5);
  const NDArray pairs = whole_numbers({0, 1, -1, 2, 1, 0}, {3, 2});
  for (const NDArray& x : randn_layouts({2, 3, 4}, generator)) {
    const NDArray updates = randn_view({3, 4}, generator);
    const Tensor y = scatter_nd(x, pairs, updates);
    EXPECT_EQ(gather_nd(y, pairs).data().to_vector<double>(), updates.to_vector<double>());
    EXPECT_EQ(at(y.data(), {0, 0, 1}), at(x, {0, 0, 1}));
    check_gradients([&](const auto& t) { return scatter_nd(t[0], pairs, t[1]); }, {x, updates});
    check_gradients([&](const auto& t) { return scatter_nd(t[0], pairs, t[1], ScatterReduction::sum); }, {x, updates});
  }
  const NDArray twice = whole_numbers({1, 1}, {2, 1}), x = NDArray::ones({2}),
                updates = NDArray::from_vector<float>({3, 5});
  EXPECT_EQ(scatter_nd(x, twice, updates, ScatterReduction::prod).data().to_vector<float>(),
            (std::vector<float>{1, 15}));
  check_gradients([&](const auto& t) { return scatter_nd(t[0], twice, t[1]); },
                  {x.to(DType::float64), updates.to(DType::float64)});
  EXPECT_THROW(scatter_nd(x, twice, NDArray::ones({3})), ShapeError);
  EXPECT_THROW(scatter_nd(x, twice, NDArray::ones({2}, DType::int8)), DTypeError);
}

TEST(OneHot, IsOneAtTheIndexIfThatIsInRange) {
  const NDArray index = whole_numbers({0, 2, -1, 3}, {2, 2});
  EXPECT_EQ(one_hot(index, 3).data().to_vector<int>(), (std::vector<int>{1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0}));
  EXPECT_EQ(one_hot(index, 3, 0).data().to_vector<int>(), (std::vector<int>{1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0}));
}

TEST(NonZero, ListsCoordinates) {
  const NDArray x = NDArray::from_vector<float>({0, 2, std::nanf(""), 0, 0, -1}, {2, 3});
  EXPECT_EQ(nonzero(x).data().to_vector<int64_t>(), (std::vector<int64_t>{0, 1, 0, 2, 1, 2}));
  EXPECT_EQ(nonzero(NDArray::zeros({2, 3})).shape(), (Shape{0, 2}));
}

}  // namespace
}  // namespace thimble
