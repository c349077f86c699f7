// Tables of embeddings in quantized graphs, by every method.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/conversion.h"
#include "tests/serialization/files.h"
#include <thimble/core/ops.h>
#include <thimble/nn/layers/embedding.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/layers/quantized_embedding.h>
#include <thimble/quant/passes/dynamic.h>
#include <thimble/quant/passes/weight_only.h>
#include <thimble/quant/qat/qat.h>
#include <thimble/serialization/checkpoint.h>

namespace thimble::quant {
namespace {

using testing::HasSubstr;

constexpr int64_t kWords = 60, kDim = 24;

NDArray random_words(const Shape& shape, uint64_t seed) {
  std::mt19937 rng(seed);
  std::vector<int64_t> values(static_cast<size_t>(shape.numel()));
  for (int64_t& v : values) v = static_cast<int64_t>(rng() % kWords);
  return NDArray::from_vector(values, shape);
}

// Two ways to read words, and what follows.
struct Reader : nn::Module {
  nn::Submodule<nn::EmbeddingBag> bag{this, "bag", kWords, kDim, nn::EmbeddingBag::Options{.padding_idx = 0}};
  nn::Submodule<nn::Embedding> words{this, "words", kWords, kDim};
  nn::Submodule<nn::Linear> fc{this, "fc", kDim, kDim};
  nn::Submodule<nn::Linear> out{this, "out", kDim, 3};
  Tensor forward(const Tensor& index) override { return out(relu(fc(bag(index) + mean(words(index), {1})))); }
};

// An output layer whose weights are the words.
struct TiedReader : nn::Module {
  nn::Submodule<nn::Embedding> words{this, "words", kWords, kDim};
  nn::Submodule<nn::Linear> fc{this, "fc", kDim, kDim};
  nn::Submodule<nn::Linear> head{this, "head", words->weight, Tensor()};
  Tensor forward(const Tensor& index) override { return head(relu(fc(words(index)))); }
};

template <typename Net>
Graph traced_net() {
  manual_seed(1);
  Net net;
  return nn::trace(net.eval(), Tensor(random_words({2, 7}, 1)));
}

Converted by_static(const Graph& graph, const QConfigMapping& mapping) {
  Converted result;
  result.graph = quantize_model(
      graph,
      [](Graph& prepared) {
        prepared(Tensor(random_words({20, 7}, 2)));
      },
      mapping, &result.report);
  return result;
}
Converted by_dynamic(const Graph& graph, const QConfigMapping& mapping) {
  Converted result;
  result.graph = quantize_dynamic(graph, mapping, &result.report);
  return result;
}
Converted by_weight_only(const Graph& graph, const QConfigMapping& mapping) {
  Converted result;
  result.graph = quantize_weight_only(graph, mapping, &result.report);
  return result;
}
Converted by_qat(const Graph& graph, const QConfigMapping& mapping) {
  Graph prepared = prepare_qat(graph, mapping);
  prepared(Tensor(random_words({20, 7}, 2)));
  Converted result;
  result.graph = convert(prepared, &result.report);
  return result;
}

struct TableMethod {
  const char* name;
  Converted (*run)(const Graph& graph, const QConfigMapping& mapping);
};

class IntegerTablesOf : public testing::TestWithParam<TableMethod> {};

double largest_difference(const Graph& a, const Graph& b) {
  const NoGrad guard;
  Graph x = a.clone(), y = b.clone();
  x.eval(), y.eval();
  const Tensor index(random_words({30, 7}, 3));
  const auto xs = x(index).data().to_vector<double>(), ys = y(index).data().to_vector<double>();
  double most = 0;
  for (size_t i = 0; i < xs.size(); ++i) most = std::max(most, std::abs(xs[i] - ys[i]));
  return most;
}

TEST_P(IntegerTablesOf, AreOfEightBits) {
  const Graph graph = traced_net<Reader>();
  const Converted q = GetParam().run(graph, QConfigMapping::static_int8());
  EXPECT_EQ(q.count("QuantizedEmbedding"), 1);
  EXPECT_EQ(q.count("QuantizedEmbeddingBag"), 1);
  for (const char* name : {"words", "bag"}) {
    EXPECT_EQ(q.layer(name).weight_bits, 8);
    EXPECT_EQ(q.layer(name).activation_bits, 32);
    EXPECT_FALSE(q.layer(name).kept_float);
    EXPECT_EQ(q.layer(name).reason, "");
  }
  EXPECT_LT(largest_difference(graph, q.graph), 0.1);
  EXPECT_GT(largest_difference(graph, q.graph), 0);
}

TEST_P(IntegerTablesOf, KeepWhatTheMappingSays) {
  const Graph graph = traced_net<Reader>();
  auto mapping = QConfigMapping::static_int8();
  mapping.set_name("words", std::nullopt).set_type("EmbeddingBag", QConfig::of_bits(4, 8));
  const Converted q = GetParam().run(graph, mapping);
  EXPECT_EQ(q.count("Embedding"), 1);
  EXPECT_TRUE(q.layer("words").kept_float);
  EXPECT_EQ(q.layer("words").reason, "its configuration keeps it float");
  EXPECT_EQ(q.graph.layer_as<QuantizedEmbeddingBag>(q.graph.find("bag"))->config().bits, 4);
  EXPECT_EQ(q.layer("bag").weight_bits, 4);
}

TEST_P(IntegerTablesOf, AloneAreEnough) {
  const Graph graph = traced_net<Reader>();
  const Converted q = GetParam().run(graph, QConfigMapping().set_type("Embedding", QConfig()));
  EXPECT_EQ(q.count("QuantizedEmbedding"), 1);
  EXPECT_EQ(q.count("EmbeddingBag"), 1);
  EXPECT_EQ(q.count("Linear") + q.count("LinearReLU"), 2);
}

TEST_P(IntegerTablesOf, ComeBackFromFiles) {
  const TempFolder folder;
  const Graph graph = traced_net<Reader>();
  for (const int bits : {4, 8}) {
    const Converted q = GetParam().run(graph, QConfigMapping().set_global(QConfig::of_bits(bits, 8)));
    save_model(q.graph, folder / "q.safetensors");
    EXPECT_EQ(largest_difference(q.graph, load_model(folder / "q.safetensors")), 0);
  }
}

const void* memory_of(const Graph& graph, const std::string& name, const std::string& tensor = "weight") {
  return arrays_of(graph).at(name + "." + tensor).address();
}

TEST_P(IntegerTablesOf, StayThoseOfALinearLayer) {
  const TempFolder folder;
  for (const int bits : {4, 8}) {
    const Graph graph = traced_net<TiedReader>();
    ASSERT_EQ(memory_of(graph, "words"), memory_of(graph, "head"));
    const Converted q = GetParam().run(graph, QConfigMapping().set_global(QConfig::of_bits(bits, 8)));
    EXPECT_EQ(q.count("QuantizedEmbedding"), 1);
    if (std::string(GetParam().name) == "qat") continue;  // training may change one of them
    EXPECT_EQ(memory_of(q.graph, "words"), memory_of(q.graph, "head")) << bits;
    EXPECT_EQ(memory_of(q.graph, "words", "weight_scale"), memory_of(q.graph, "head", "weight_scale"));
    EXPECT_EQ(q.layer("words").reason, "");
    save_model(q.graph, folder / "tied.safetensors");
    const Graph loaded = load_model(folder / "tied.safetensors");
    EXPECT_EQ(memory_of(loaded, "words"), memory_of(loaded, "head"));
    EXPECT_EQ(largest_difference(q.graph, loaded), 0);
    EXPECT_LT(largest_difference(graph, q.graph), bits == 8 ? 0.5 : 5);
  }
}

TEST_P(IntegerTablesOf, OfAFloatLayerStayFloat) {
  if (std::string(GetParam().name) == "qat") return;
  const Converted q =
      GetParam().run(traced_net<TiedReader>(), QConfigMapping::static_int8().set_name("head", std::nullopt));
  EXPECT_EQ(q.count("Embedding"), 1);
  EXPECT_EQ(q.layer("words").reason, "it shares its table with 'head', which stays float");
  EXPECT_EQ(memory_of(q.graph, "words"), memory_of(q.graph, "head"));
}

TEST_P(IntegerTablesOf, LeaveALinearLayerOfOtherBitsAndSaySo) {
  if (std::string(GetParam().name) == "qat") return;
  const Converted q =
      GetParam().run(traced_net<TiedReader>(), QConfigMapping::static_int8().set_name("head", QConfig::of_bits(4, 8)));
  EXPECT_EQ(q.count("QuantizedEmbedding"), 1);
  EXPECT_FALSE(q.layer("words").kept_float);
  EXPECT_EQ(q.layer("words").reason, "its table is no longer that of 'head', whose weights have 4 bits");
}

struct ReadsTwice : nn::Module {
  nn::Submodule<nn::Embedding> words{this, "words", kWords, kDim};
  nn::Submodule<nn::EmbeddingBag> bag{this, "bag", words->weight};
  nn::Submodule<nn::Linear> out{this, "out", kDim, 3};
  Tensor forward(const Tensor& index) override {
    return out(mean(words(index), {1}) + bag(index) + max(words(index), {1}));
  }
};

TEST_P(IntegerTablesOf, AreOneForAllWhoReadThem) {
  const Graph graph = traced_net<ReadsTwice>();
  const Converted q = GetParam().run(graph, QConfigMapping::static_int8());
  EXPECT_EQ(q.count("QuantizedEmbedding"), 2);
  if (std::string(GetParam().name) != "qat") {
    EXPECT_EQ(memory_of(q.graph, "words"), memory_of(q.graph, "bag"));
    EXPECT_LT(largest_difference(graph, q.graph), 0.4);
  }
  const std::string second = [&] {
    for (const Node* node : graph.nodes())
      if (node->name != "words" && node->target == "words") return node->name;
    return std::string();
  }();
  EXPECT_THAT(error_of([&] { GetParam().run(graph, QConfigMapping::static_int8().set_name(second, std::nullopt)); }),
              HasSubstr("'words' and '" + second + "' call the same layer, and their configurations differ"));
}

INSTANTIATE_TEST_SUITE_P(Methods, IntegerTablesOf,
                         testing::Values(TableMethod{"static_", by_static}, TableMethod{"dynamic", by_dynamic},
                                         TableMethod{"weight_only", by_weight_only}, TableMethod{"qat", by_qat}),
                         [](const auto& method) { return std::string(method.param.name); });

}  // namespace
}  // namespace thimble::quant
