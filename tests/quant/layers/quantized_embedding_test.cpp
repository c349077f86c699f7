// Embedding and EmbeddingBag with tables of integers.
#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/reference.h"
#include <thimble/core/ops.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/inference/inference.h>
#include <thimble/quant/layers/quantized_embedding.h>

namespace thimble::quant {
namespace {

using testing::HasSubstr;

NDArray random_index(const Shape& shape, int64_t below, std::mt19937& rng, DType dtype = DType::int64) {
  std::vector<int64_t> values(static_cast<size_t>(shape.numel()));
  for (int64_t& v : values) v = static_cast<int64_t>(rng() % static_cast<uint64_t>(below));
  return NDArray::from_vector(values, shape).to(dtype);
}

nn::Embedding random_embedding(int64_t rows, int64_t columns, std::mt19937& rng) {
  return nn::Embedding(Tensor(random_normal({rows, columns}, rng)));
}

std::vector<float> values_of(const Tensor& t) { return t.data().to_vector<float>(); }

// What the state means, as the header describes it.
NDArray table_by_hand(const IntegerTable& layer) {
  const auto arrays = arrays_of(layer);
  const auto& c = layer.config();
  const auto scale = arrays.at("weight_scale").to_vector<float>();
  const auto zero_points = c.scheme == QScheme::affine
                               ? arrays.at("weight_zero_point").to_vector<int32_t>()
                               : std::vector<int32_t>(scale.size(), c.is_signed ? 0 : 1 << (c.bits - 1));
  const auto bytes = arrays.at("weight").to_vector<int32_t>();
  const size_t row_bytes = bytes.size() / scale.size();
  std::vector<float> table;
  for (size_t r = 0; r < scale.size(); ++r)
    for (int64_t i = 0; i < c.embedding_dim; ++i) {
      int32_t u = 0;
      for (int b = 0; b < c.bits && !c.is_signed; ++b) {
        const auto bit = static_cast<size_t>(i * c.bits + b);
        u |= (bytes[r * row_bytes + bit / 8] >> (bit % 8) & 1) << b;
      }
      if (c.is_signed) u = bytes[r * row_bytes + static_cast<size_t>(i)];
      table.push_back(scale[r] * static_cast<float>(u - zero_points[r]));
    }
  return NDArray::from_vector(table, {c.num_embeddings, c.embedding_dim});
}

TEST(QuantizedEmbedding, ReadsRowsOfItsTableOnEveryMachine) {
  std::mt19937 rng(1);
  for (int bits = 2; bits <= 8; ++bits)
    for (const int64_t columns : {1, 7, 32, 300, 1030}) {
      const auto layer = QuantizedEmbedding::from_float(random_embedding(50, columns, rng), bits);
      const Tensor table(table_by_hand(*layer));
      EXPECT_EQ(layer->dequantized_weight().to_vector<float>(), values_of(table));
      for (const DType dtype : {DType::int64, DType::int32}) {
        const Tensor index(random_index({5, 40}, 50, rng, dtype));
        on_every_machine([&] {
          const Tensor y = (*layer)(index);
          EXPECT_EQ(y.shape(), (Shape{5, 40, columns}));
          EXPECT_EQ(values_of(y), values_of(embedding(index, table)));
        });
      }
    }
}

TEST(QuantizedEmbedding, NumbersAreWithinHalfAStepOrAtTheEndsOne) {
  std::mt19937 rng(2);
  for (int bits = 2; bits <= 8; ++bits) {
    const nn::Embedding words = random_embedding(40, 64, rng);
    const auto layer = QuantizedEmbedding::from_float(words, bits);
    const auto scale = arrays_of(*layer).at("weight_scale").to_vector<float>();
    const auto w = values_of(words.weight), q = layer->dequantized_weight().to_vector<float>();
    for (size_t r = 0; r < 40; ++r) {
      const auto [low, high] =
          std::minmax_element(w.begin() + static_cast<int64_t>(r) * 64, w.begin() + static_cast<int64_t>(r + 1) * 64);
      for (size_t i = r * 64; i < (r + 1) * 64; ++i) {
        const bool is_end = w[i] <= *low + scale[r] || w[i] >= *high - scale[r];
        EXPECT_LE(std::abs(w[i] - q[i]), (is_end ? 1.01f : 0.501f) * scale[r]);
      }
    }
  }
}

// What users expect of 8 bits, in the units of the numbers: the root of the mean square is below 0.01.
TEST(QuantizedEmbedding, StandardNormalRowsOf8BitsAreNear) {
  std::mt19937 rng(3);
  for (const int64_t columns : {64, 128, 300}) {
    const nn::Embedding words = random_embedding(200, columns, rng);
    const auto layer = QuantizedEmbedding::from_float(words, 8);
    const Tensor difference = words.weight - Tensor(layer->dequantized_weight());
    EXPECT_LT(std::sqrt(mean(difference * difference).item<double>()), 0.01);
  }
}

TEST(QuantizedEmbedding, RowsOfPaddingStayZero) {
  nn::Embedding words(6, 5, {.padding_idx = 2});
  const auto layer = QuantizedEmbedding::from_float(words, 4);
  EXPECT_EQ(layer->config().padding_idx, 2);
  EXPECT_EQ(layer->dequantized_weight().slice(0, 2, 3).to_vector<float>(), std::vector<float>(5, 0));
}

struct BagCase {
  BagMode mode;
  bool offsets, factors;
};
const BagCase kBagCases[] = {{BagMode::sum, false, false}, {BagMode::sum, false, true},   {BagMode::sum, true, true},
                             {BagMode::sum, true, false},  {BagMode::mean, false, false}, {BagMode::mean, true, false},
                             {BagMode::max, false, false}, {BagMode::max, true, false}};

TEST(QuantizedEmbeddingBag, IsTheFloatLayerOfItsTableOnEveryMachine) {
  std::mt19937 rng(4);
  for (const BagCase& c : kBagCases)
    for (const int bits : {3, 4, 8})
      for (const bool padded : {false, true}) {
        nn::EmbeddingBag::Options options{.mode = c.mode};
        if (padded) options.padding_idx = 3;
        nn::EmbeddingBag bag(Tensor(random_normal({9, 70}, rng)), options);
        const auto layer = QuantizedEmbeddingBag::from_float(bag, bits);
        nn::EmbeddingBag of_integers(Tensor(table_by_hand(*layer)), options);
        std::vector<Tensor> inputs{Tensor(random_index(c.offsets ? Shape{60} : Shape{12, 5}, 9, rng, DType::int32))};
        if (c.offsets) inputs.emplace_back(NDArray::from_vector(std::vector<int32_t>{0, 0, 7, 20, 60, 60}));
        if (c.factors) inputs.emplace_back(random_normal(inputs[0].shape(), rng));
        const std::vector<float> expected = values_of(of_integers.forward_all(inputs));
        on_every_machine([&] { EXPECT_EQ(values_of(layer->forward_all(inputs)), expected); });
      }
}

TEST(QuantizedEmbeddingBag, SumsOfLongBagsAreFormedInFloat64) {
  std::mt19937 rng(5);
  nn::EmbeddingBag bag(Tensor(random_normal({9, 33}, rng)), {.mode = BagMode::sum});
  const auto layer = QuantizedEmbeddingBag::from_float(bag, 8);
  nn::EmbeddingBag of_integers(Tensor(table_by_hand(*layer)), {.mode = BagMode::sum});
  const Tensor index(random_index({2, 5000}, 9, rng));
  on_every_machine([&] { EXPECT_EQ(values_of((*layer)(index)), values_of(of_integers(index))); });
}

TEST(QuantizedEmbeddingBag, HasAStepOfItsOwn) {
  std::mt19937 rng(6);
  const auto layer =
      QuantizedEmbeddingBag::from_float(nn::EmbeddingBag(Tensor(random_normal({9, 6}, rng)), {BagMode::sum}), 8);
  const nn::ValueInfo index{{4, 3}, DType::int64}, entries{{12}, DType::int64}, offsets{{2}, DType::int64};
  const nn::ValueInfo factors{{12}, DType::float32};
  EXPECT_NE(layer->inference_step(std::array{index}), nullptr);
  EXPECT_NE(layer->inference_step(std::array{entries, offsets}), nullptr);
  EXPECT_NE(layer->inference_step(std::array{entries, offsets, factors}), nullptr);
  EXPECT_NE(QuantizedEmbedding::from_float(random_embedding(9, 6, rng), 8)->inference_step(std::array{index}), nullptr);
}

TEST(QuantizedEmbedding, RefusesWhatDoesNotFit) {
  std::mt19937 rng(7);
  using Config = IntegerTable::Config;
  const auto refused = [](const Config& config, const std::string& text) {
    EXPECT_THAT(error_of([&] { QuantizedEmbedding layer(config); }), HasSubstr(text));
  };
  refused({.num_embeddings = 0, .embedding_dim = 3}, "num_embeddings 0 and embedding_dim 3 must be between 1 and");
  refused({.num_embeddings = 3, .embedding_dim = 3, .bits = 9}, "bits");
  refused({.num_embeddings = 3, .embedding_dim = 3, .is_signed = true}, "signed integers are for symmetric tables");
  refused({.num_embeddings = 3, .embedding_dim = 3, .padding_idx = 3}, "padding_idx 3 is no row of the table");
  const auto layer = QuantizedEmbedding::from_float(random_embedding(4, 3, rng), 4);
  EXPECT_THAT(error_of([&] { (*layer)(Tensor(NDArray::full({1}, 4, DType::int64))); }),
              HasSubstr("QuantizedEmbedding: index 4 (entry 0) is out of range for size 4"));
  const auto load = [&](const std::string& name, const NDArray& array) {
    NamedArrays arrays;
    for (const auto& [own, value] : arrays_of(*layer)) arrays.emplace_back(own, own == name ? array : value);
    return error_of([&] { layer->load_state(arrays); });
  };
  EXPECT_THAT(load("weight_scale", NDArray::zeros({4})), HasSubstr("weight scale 0 is not positive and finite"));
  EXPECT_THAT(load("weight_zero_point", NDArray::full({4}, 16, DType::uint8)), HasSubstr("16 is not in [0, 15]"));
  EXPECT_THAT(load("weight", NDArray::full({4, 2}, 255, DType::uint8)), HasSubstr("of which only 4 bits"));
  nn::Embedding infinite(Tensor(NDArray::full({2, 2}, std::numeric_limits<double>::infinity())));
  EXPECT_THAT(error_of([&] { QuantizedEmbedding::from_float(infinite, 8); }),
              HasSubstr("the values hold NaN or infinity"));
  QuantizedEmbeddingBag bag({.num_embeddings = 4, .embedding_dim = 3}, BagMode::mean);
  EXPECT_THAT(error_of([&] { bag(Tensor(NDArray::zeros({1, 1}, DType::int64))); }), HasSubstr("no table yet"));
}

}  // namespace
}  // namespace thimble::quant
