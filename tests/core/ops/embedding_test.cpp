// Rows of a table by index, and sums, means and maxima of bags of them.
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/core/views.h"
#include <thimble/core/ops/embedding.h>
#include <thimble/core/ops/shape.h>
#include <thimble/core/parallel.h>

namespace thimble {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::ThrowsMessage;

template <typename T>
NDArray array_in(const json& j) {
  return NDArray::from_vector(j.at("values").get<std::vector<T>>(), Shape(j.at("shape").get<std::vector<int64_t>>()));
}

std::optional<int64_t> optional_integer(const json& j) {
  return j.is_null() ? std::optional<int64_t>() : j.get<int64_t>();
}

Tensor look_up(const json& c, const Tensor& weight, const Tensor& scales, DType index_type) {
  const NDArray index = array_in<int64_t>(c.at("index")).to(index_type);
  const auto padding_idx = optional_integer(c.at("padding_idx"));
  if (c.at("op") == "embedding") return embedding(index, weight, padding_idx);
  const Tensor offsets = c.contains("offsets") ? Tensor(array_in<int64_t>(c.at("offsets")).to(index_type)) : Tensor();
  const BagMode mode = bag_mode_from_name(c.at("mode").get<std::string>());
  return embedding_bag(index, weight, offsets, scales, {.mode = mode, .padding_idx = padding_idx});
}

TEST(Embedding, ValuesAndGradientsAreThoseOfPyTorch) {
  std::ifstream file(std::string(THIMBLE_TEST_DATA) + "/torch_embedding_cases.json");
  const json cases = json::parse(file).at("cases");
  ASSERT_GE(cases.size(), 40u);
  for (const json& c : cases) {
    SCOPED_TRACE(c.dump().substr(0, 200));
    const Tensor weight(array_in<double>(c.at("weight")), true);
    const Tensor scales = c.contains("scales") ? Tensor(array_in<double>(c.at("scales")), true) : Tensor();
    std::vector<Tensor> inputs{weight};
    if (scales.defined()) inputs.push_back(scales);
    for (const DType index_type : {DType::int64, DType::int32}) {
      const Tensor y = look_up(c, weight, scales, index_type);
      expect_close(y.data(), array_in<double>(c.at("output")), 1e-6);
      const auto grads = grad(y, inputs, Tensor(array_in<double>(c.at("out_grad"))));
      ASSERT_EQ(grads.size(), c.at("grads").size());
      for (size_t i = 0; i < grads.size(); ++i)
        expect_close(grads[i].data(), array_in<double>(c.at("grads").at(i)), 1e-6);
    }
  }
}

NDArray tokens(const Shape& shape, uint64_t below, Generator& generator) {
  std::vector<int64_t> values(static_cast<size_t>(shape.numel()));
  for (int64_t& v : values) v = static_cast<int64_t>(generator.below(below));
  return NDArray::from_vector(values, shape);
}

// Sizes of index and table, dimensions of 1 and 0 among them.
struct BagSizes {
  int64_t bags, length, rows, dim;
};
constexpr BagSizes kBagSizes[] = {{3, 4, 5, 3}, {1, 1, 1, 1}, {0, 3, 4, 2}, {2, 0, 4, 2}, {2, 3, 4, 0}, {5, 2, 3, 70}};

TEST(EmbeddingBag, GradientsAreThoseOfDifferences) {
  Generator generator(1);
  for (const BagSizes& s : kBagSizes) {
    const NDArray index = tokens({s.bags, s.length}, static_cast<uint64_t>(s.rows), generator);
    for (const BagMode mode : {BagMode::sum, BagMode::mean, BagMode::max}) {
      for (const std::optional<int64_t> padding : {std::optional<int64_t>(), std::optional<int64_t>(-1)}) {
        SCOPED_TRACE(str(name(mode), ' ', s.bags, 'x', s.length, 'x', s.dim, ' ', padding.has_value()));
        const EmbeddingBagOptions options{mode, padding};
        for (const NDArray& weight : randn_layouts({s.rows, s.dim}, generator))
          check_gradients([&](const auto& t) { return embedding_bag(index, t[0], options); }, {weight});
      }
    }
    for (const NDArray& weight : randn_layouts({s.rows, s.dim}, generator)) {
      const NDArray scales = randn_view({s.bags, s.length}, generator);
      check_gradients(
          [&](const auto& t) {
            return embedding_bag(index, t[0], Tensor(), t[1], {.mode = BagMode::sum, .padding_idx = 0});
          },
          {weight, scales});
    }
  }
}

TEST(EmbeddingBag, GradientsOfBagsWithOffsetsAreThoseOfDifferences) {
  Generator generator(2);
  const NDArray index = tokens({9}, 5, generator);
  const Tensor offsets = NDArray::from_vector<int64_t>({0, 0, 4, 5, 9});
  for (const BagMode mode : {BagMode::sum, BagMode::mean, BagMode::max})
    check_gradients(
        [&](const auto& t) {
          return embedding_bag(index, t[0], offsets, {mode, 2});
        },
        {randn({5, 3}, generator, DType::float64)});
  check_gradients([&](const auto& t) { return embedding_bag(index, t[0], offsets, t[1], {.mode = BagMode::sum}); },
                  {randn({5, 3}, generator, DType::float64), randn({9}, generator, DType::float64)});
}

TEST(Embedding, GradientsOfPaddingAreNone) {
  Generator generator(3);
  const NDArray index = tokens({4, 5}, 4, generator);
  // The padding's row is read like any other: it must not change for differences to say the same.
  const Tensor fixed = randn({1, 2}, generator, DType::float64);
  check_gradients(
      [&](const auto& t) {
        return embedding(index, concat({t[0], fixed}, 0), 3);
      },
      {randn({3, 2}, generator, DType::float64)});
  const Tensor weight(randn({4, 2}, generator), true);
  embedding(index, weight, 1).backward(Tensor(NDArray::ones({4, 5, 2})));
  EXPECT_EQ(weight.grad().data().slice(0, 1, 2).to_vector<float>(), (std::vector<float>{0, 0}));
  EXPECT_EQ(embedding(index, weight, 1).data().to_vector<float>(), embedding(index, weight).data().to_vector<float>());
}

TEST(EmbeddingBag, AnIndexOfBagsIsOneWithOffsets) {
  Generator generator(4);
  const NDArray index = tokens({6, 4}, 9, generator), weight = randn({9, 67}, generator);
  const Tensor offsets = NDArray::from_vector<int64_t>({0, 4, 8, 12, 16, 20});
  for (const BagMode mode : {BagMode::sum, BagMode::mean, BagMode::max})
    EXPECT_EQ(embedding_bag(index, weight, {mode, 3}).data().to_vector<float>(),
              embedding_bag(index.reshape({24}), weight, offsets, {mode, 3}).data().to_vector<float>());
}

TEST(EmbeddingBag, BitsAreTheSameOnAnyNumberOfThreads) {
  Generator generator(5);
  const int before = num_threads();
  const NDArray index = tokens({300, 40}, 7, generator), weight_values = randn({7, 65}, generator);
  const Tensor weight(weight_values, true), out_grad = randn({300, 65}, generator);
  for (const BagMode mode : {BagMode::sum, BagMode::mean, BagMode::max}) {
    std::vector<std::vector<float>> first;
    for (const int threads : {1, 2, 5}) {
      set_num_threads(threads);
      const Tensor y = embedding_bag(index, weight, {mode, 2});
      const std::vector<std::vector<float>> results = {y.data().to_vector<float>(),
                                                       grad(y, {weight}, out_grad)[0].data().to_vector<float>()};
      if (first.empty()) first = results;
      EXPECT_EQ(results, first);
    }
  }
  set_num_threads(before);
}

TEST(EmbeddingBag, ABagGivesTheSameBitsInEveryBatch) {
  Generator generator(6);
  const NDArray index = tokens({50, 30}, 20, generator), weight = randn({20, 33}, generator);
  const NDArray all = embedding_bag(index, weight).data();
  EXPECT_EQ(embedding_bag(index.slice(0, 17, 18), weight).data().to_vector<float>(),
            all.slice(0, 17, 18).to_vector<float>());
}

TEST(EmbeddingBag, RefusesWhatDoesNotFit) {
  const Tensor weight(randn({5, 2}, default_generator())), bags = NDArray::from_vector<int64_t>({0, 1, 2, 3}, {2, 2}),
                                                           flat = NDArray::from_vector<int64_t>({0, 1, 2, 3});
  const auto offsets = [](const std::vector<int64_t>& values) { return Tensor(NDArray::from_vector(values)); };
  const auto refused = [](const auto& f, const std::string& text) {
    EXPECT_THAT([&] { f(); }, ThrowsMessage<Error>(HasSubstr(text)));
  };
  refused([&] { embedding_bag(flat, weight); },
          "embedding_bag: index [4] must be [n, length], or [entries] with offsets");
  refused([&] { embedding_bag(bags, weight, offsets({0})); },
          "embedding_bag: index [2,2] and offsets [1] must be [entries] and [bags]");
  refused([&] { embedding_bag(flat, weight, offsets({1})); }, "embedding_bag: offsets must begin with 0, got 1");
  refused([&] { embedding_bag(flat, weight, offsets({0, 3, 2})); }, "embedding_bag: offsets[2] is 2");
  refused([&] { embedding_bag(flat, weight, offsets({0, 5})); }, "embedding_bag: offsets[1] is 5");
  refused([&] { embedding_bag(flat, weight, NDArray::zeros({1}, DType::int32)); },
          "embedding_bag: offsets are int32, expected index's int64");
  refused(
      [&] {
        embedding_bag(NDArray::from_vector<int64_t>({0, 5}, {1, 2}), weight);
      },
      "embedding_bag: index 5 (entry 1) is out of range for size 5");
  refused(
      [&] {
        embedding_bag(NDArray::zeros({2, 2}), weight);
      },
      "embedding_bag: index must be int64 or int32, got float32");
  refused([&] { embedding_bag(bags, weight, {.padding_idx = 5}); },
          "embedding_bag: padding_idx 5 is out of range for 5 embeddings");
  refused(
      [&] {
        embedding_bag(bags, weight, Tensor(), NDArray::ones({2, 2}));
      },
      "embedding_bag: per_sample_weights are for mode sum, not mean");
  refused([&] { embedding_bag(bags, weight, Tensor(), NDArray::ones({4}), {.mode = BagMode::sum}); },
          "embedding_bag: per_sample_weights [4] must have index's shape [2,2]");
  refused([&] { embedding(bags, weight, -6); }, "embedding: padding_idx -6 is out of range for 5 embeddings");
  const auto made_of = [](bool has_offsets, const std::vector<Tensor>& inputs) {
    return thimble::apply(make_op("embedding_bag", {{"mode", std::string("sum")}, {"offsets", has_offsets}}), inputs);
  };
  refused([&] { made_of(true, {flat, weight}); }, "embedding_bag: got 2 inputs, expected 2 and offsets");
  refused(
      [&] {
        made_of(false, {bags, weight, NDArray::ones({2, 2}), NDArray::ones({2, 2})});
      },
      "embedding_bag: got 4 inputs, expected 2, and perhaps");
  refused([] { bag_mode_from_name("median"); }, "mode 'median' is none of sum, mean and max");
}

}  // namespace
}  // namespace thimble
