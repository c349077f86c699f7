// scaled_dot_product_attention() against its definition, its gradients, its masks.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/views.h"
#include <thimble/core/ops.h>
#include <thimble/core/random.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

struct AttentionSizes {
  Shape batch;
  int64_t l, s, size, out;

  Shape with(int64_t rows, int64_t columns) const {
    Shape shape = batch;
    shape.push_back(rows);
    shape.push_back(columns);
    return shape;
  }
};

const std::vector<AttentionSizes> kAttentionSizes = {
    {{2, 3}, 4, 5, 2, 3}, {{}, 3, 3, 4, 4}, {{1}, 1, 1, 1, 1}, {{2}, 1, 4, 3, 2}, {{0}, 2, 2, 2, 2}};

TEST(Attention, GradientsAreThoseOfDifferences) {
  Generator generator(1);
  for (const AttentionSizes& s : kAttentionSizes)
    for (const bool is_causal : {false, true}) {
      const std::vector<NDArray> inputs{randn_view(s.with(s.l, s.size), generator),
                                        randn_view(s.with(s.s, s.size), generator),
                                        randn_view(s.with(s.s, s.out), generator)};
      check_gradients(
          [&](const auto& t) {
            return scaled_dot_product_attention(t[0], t[1], t[2], {}, {.is_causal = is_causal, .scale = 0.7});
          },
          inputs);
    }
  const NDArray added = randn({4, 5}, generator, DType::float64);
  check_gradients([&](const auto& t) { return scaled_dot_product_attention(t[0], t[1], t[2], t[3]); },
                  {randn({2, 4, 3}, generator, DType::float64), randn({2, 5, 3}, generator, DType::float64),
                   randn({2, 5, 2}, generator, DType::float64), added});
}

// What bools leave out counts for nothing, whatever it is.
TEST(Attention, HiddenKeysLeaveNoTrace) {
  Generator generator(2);
  const NDArray q = randn({2, 4, 3}, generator), k = randn({2, 5, 3}, generator), v = randn({2, 5, 2}, generator);
  NDArray seen = NDArray::full({4, 5}, 1, DType::bool_);
  seen.slice(1, 3, 5).fill(0);
  const auto expected = scaled_dot_product_attention(q, k.slice(1, 0, 3), v.slice(1, 0, 3)).data().to_vector<float>();
  NDArray other = k.clone();
  other.slice(1, 3, 5).fill(1000);
  for (const NDArray& keys : {k, other}) {
    const auto got = scaled_dot_product_attention(q, keys, v, seen).data().to_vector<float>();
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-6);
  }
}

TEST(Attention, AQueryThatSeesNothingGetsTheMean) {
  Generator generator(3);
  const NDArray q = randn({2, 3}, generator), k = randn({5, 3}, generator), v = randn({5, 2}, generator);
  NDArray seen = NDArray::full({2, 5}, 1, DType::bool_);
  seen.slice(0, 1, 2).fill(0);
  const Tensor query(q, true);
  const Tensor y = scaled_dot_product_attention(query, k, v, seen);
  expect_close(y.data().slice(0, 1, 2), mean(Tensor(v), {0}, true).data(), 1e-6);
  sum(y).backward();
  EXPECT_EQ(query.grad().data().slice(0, 1, 2).to_vector<float>(), std::vector<float>(3, 0));
}

TEST(Attention, WeightsAreDropped) {
  manual_seed(4);
  Generator generator(4);
  const NDArray q = randn({1, 3}, generator), v = NDArray::ones({200, 1});
  const Tensor y = scaled_dot_product_attention(q, NDArray::zeros({200, 3}), v, {}, {.dropout_p = 0.5});
  EXPECT_NE(y.item<float>(), 1);
  EXPECT_NEAR(y.item<float>(), 1, 0.4);
}

TEST(Attention, RefusesWhatDoesNotFit) {
  const Tensor x = NDArray::ones({2, 4, 3}), other = NDArray::ones({2, 4, 2}), longer = NDArray::ones({2, 5, 3});
  EXPECT_THAT([&] { scaled_dot_product_attention(x, other, x); },
              ThrowsMessage<ShapeError>(HasSubstr("attention: query [2,4,3] and key [2,4,2]")));
  EXPECT_THAT([&] { scaled_dot_product_attention(x, x, longer); },
              ThrowsMessage<ShapeError>(HasSubstr("key [2,4,3] and value [2,5,3] must be of one length")));
  EXPECT_THAT(
      [&] {
        scaled_dot_product_attention(x, x, x, NDArray::ones({4, 4}), {.is_causal = true});
      },
      ThrowsMessage<ValueError>(HasSubstr("is_causal is a mask")));
  EXPECT_THAT(
      [&] {
        attention_weights(x, x, {.hidden = NDArray::ones({4, 4})});
      },
      ThrowsMessage<DTypeError>(HasSubstr("attention: a mask of float32, expected bool")));
  // One that would make more scores of them.
  EXPECT_THAT(
      [&] {
        attention_weights(slice(x, 1, 0, 1), x, {.added = NDArray::ones({4, 4})});
      },
      ThrowsMessage<ShapeError>(HasSubstr("a mask of shape [4,4] does not fit scores [2,1,4]")));
}

TEST(Unflatten, IsTheInverseOfFlatten) {
  Generator generator(5);
  for (const NDArray& x : randn_layouts({2, 6, 4}, generator)) {
    EXPECT_EQ(unflatten(x, 1, {2, 3}).shape(), (Shape{2, 2, 3, 4}));
    EXPECT_EQ(unflatten(x, -1, {2, -1}).shape(), (Shape{2, 6, 2, 2}));
    EXPECT_EQ(unflatten(x, 0, {-1, 2, 1}).shape(), (Shape{1, 2, 1, 6, 4}));
    EXPECT_EQ(flatten(unflatten(x, 1, {-1, 2}), 1, 2).data().to_vector<double>(), x.to_vector<double>());
    check_gradients([](const auto& t) { return unflatten(t[0], 1, {3, 2}); }, {x});
  }
  EXPECT_EQ(unflatten(NDArray::zeros({0, 6}), 1, {2, -1}).shape(), (Shape{0, 2, 3}));
  EXPECT_EQ(unflatten(NDArray::zeros({2, 0}), 1, {0, 3}).shape(), (Shape{2, 0, 3}));
  EXPECT_THAT(
      [] {
        unflatten(NDArray::zeros({2, 6}), 1, {4, -1});
      },
      ThrowsMessage<ShapeError>(HasSubstr("unflatten: dimension 1 of [2,6] does not divide into [4,-1]")));
  EXPECT_THROW(unflatten(NDArray::zeros({2, 6}), 1, {-1, -1}), ShapeError);
}

}  // namespace
}  // namespace thimble
