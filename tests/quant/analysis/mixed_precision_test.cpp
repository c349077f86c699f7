#include <cmath>
#include <limits>
#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/conversion.h"
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/analysis/mixed_precision.h>
#include <thimble/quant/analysis/output_divergence.h>

namespace thimble::quant {
namespace {

using testing::HasSubstr;

class MixedPrecisionTest : public QuantizeTest {
 protected:
  // The middle layer has most of the weights, but they are small beside its biases: what they and the layer before say
  // hardly reaches the last layer.
  MixedPrecisionTest() {
    nn::Sequential model(nn::Linear(8, 32), nn::ReLU(), nn::Linear(32, 32), nn::ReLU(), nn::Linear(32, 4));
    graph = traced(model, {64, 8});
    Tensor weight = graph.layer_as<nn::Linear>(graph.find("2"))->weight;
    Tensor bias = graph.layer_as<nn::Linear>(graph.find("2"))->bias;
    for (int64_t i = 0; i < weight.numel(); ++i) weight.mutable_data().data<float>()[i] *= 0.03f;
    for (int64_t i = 0; i < bias.numel(); ++i) bias.mutable_data().data<float>()[i] = 1;
    calibrated.emplace(graph, QConfigMapping::static_int8(), [this](Graph& g) { g(Tensor(data)); });
    cost = output_divergence(calibrated->reference(), {Tensor(data)});
  }

  static int64_t bytes_of(const Graph& g) {
    int64_t bytes = 0;
    for (const auto& [name, tensor] : g.state()) bytes += tensor.data().nbytes();
    return bytes;
  }
  static std::vector<int> bits_of(const PrecisionChoice& choice) {
    std::vector<int> bits;
    for (const LayerPrecision& layer : choice.layers) bits.push_back(layer.weight_bits);
    return bits;
  }
  Graph with_bits(const std::vector<int>& bits) {
    QConfigMapping mapping;
    const char* names[] = {"0", "2", "4"};
    for (size_t i = 0; i < 3; ++i) {
      QConfig config;
      config.weight.bits = bits[i];
      mapping.set_name(names[i], config);
    }
    return calibrated->quantized(mapping);
  }
  Graph graph;
  std::optional<CalibratedGraph> calibrated;
  MixedPrecision::Cost cost;
};

TEST_F(MixedPrecisionTest, KeepsEveryBudgetAndIsNoWorseThanUniformBits) {
  MixedPrecision search(*calibrated, cost);
  for (int bits = 2; bits <= 8; ++bits) {
    Graph uniform = with_bits({bits, bits, bits});
    const PrecisionChoice choice = search.best_within(bytes_of(uniform));
    EXPECT_LE(choice.size_bytes, bytes_of(uniform));
    EXPECT_LE(choice.cost, cost(uniform)) << bits << " bits";
    if (bits == 3 || bits == 4) {
      EXPECT_LT(choice.cost, cost(uniform) / 4) << bits << " bits";
    }
  }
}

TEST_F(MixedPrecisionTest, AChoiceIsTheGraphThatItsMappingGives) {
  MixedPrecision search(*calibrated, cost, {.weight_observers = {"minmax", "mse"}});
  for (const int64_t budget : {1000, 1300, 1700}) {
    const PrecisionChoice choice = search.best_within(budget);
    ConversionReport report;
    Graph result = calibrated->quantized(choice.mapping, &report);
    EXPECT_EQ(choice.size_bytes, bytes_of(result));
    EXPECT_EQ(choice.cost, cost(result));
    ASSERT_EQ(report.size(), choice.layers.size());
    for (size_t i = 0; i < report.size(); ++i) {
      EXPECT_EQ(report[i].name, choice.layers[i].name);
      EXPECT_EQ(report[i].weight_bits, choice.layers[i].weight_bits);
      EXPECT_EQ(report[i].activation_bits, 8);
      EXPECT_THAT(choice.layers[i].weight_observer, testing::AnyOf("minmax", "mse"));
    }
  }
}

// With a cost that is a sum over layers, the best by addition is the best of all, by trying all.
TEST_F(MixedPrecisionTest, WhereCostsAddUpTheBestOfAllIsFound) {
  const double weight_of[] = {7, 1, 3};
  const auto additive = [&](Graph& g) {
    double sum = 0;
    const char* names[] = {"0", "2", "4"};
    for (size_t i = 0; i < 3; ++i)
      sum += weight_of[i] * std::ldexp(1, -2 * g.layer_as<QuantizedLinear>(g.find(names[i]))->config().weight_bits);
    return sum;
  };
  MixedPrecision search(*calibrated, additive);
  std::vector<std::pair<int64_t, double>> all;
  for (int a = 2; a <= 8; ++a)
    for (int b = 2; b <= 8; ++b)
      for (int c = 2; c <= 8; ++c) {
        Graph g = with_bits({a, b, c});
        all.emplace_back(bytes_of(g), additive(g));
      }
  for (int64_t budget = search.smallest_size(); budget <= search.largest_size(); budget += 37) {
    double best = std::numeric_limits<double>::infinity();
    for (const auto& [size, sum] : all)
      if (size <= budget) best = std::min(best, sum);
    const PrecisionChoice choice = search.best_within(budget);
    EXPECT_NEAR(choice.cost, best, 1e-12) << budget;
    EXPECT_NEAR(choice.predicted_cost, choice.cost, 1e-12);
  }
}

TEST_F(MixedPrecisionTest, TheLayerThatSaysMostGetsTheMostBits) {
  MixedPrecision search(*calibrated, cost);
  const auto bits = bits_of(search.best_within(bytes_of(with_bits({4, 4, 4}))));
  EXPECT_GT(bits[2], 4);
  EXPECT_LE(bits[1], 4);
  EXPECT_LE(bits[0], 4);
}

TEST_F(MixedPrecisionTest, TheLargestBudgetHasTheMostBitsAndTheSmallestTheFewest) {
  MixedPrecision search(*calibrated, cost, {.weight_bits = {3, 5, 7}});
  EXPECT_EQ(search.smallest_size(), bytes_of(with_bits({3, 3, 3})));
  EXPECT_EQ(search.largest_size(), bytes_of(with_bits({7, 7, 7})));
  EXPECT_THAT(bits_of(search.best_within(search.smallest_size())), testing::ElementsAre(3, 3, 3));
  EXPECT_LE(search.best_within(1 << 30).cost, search.best_within(search.largest_size() - 1).cost);
}

TEST_F(MixedPrecisionTest, ABudgetThatIsTooSmallIsRefusedByNamingTheSmallestSize) {
  MixedPrecision search(*calibrated, cost);
  const int64_t smallest = bytes_of(with_bits({2, 2, 2}));
  EXPECT_EQ(search.best_within(smallest).size_bytes, smallest);
  const std::string message = error_of([&] { search.best_within(smallest - 1); });
  EXPECT_THAT(message, HasSubstr(str("budget of ", smallest - 1)));
  EXPECT_THAT(message, HasSubstr(str("smallest choice takes ", smallest)));
}

TEST_F(MixedPrecisionTest, SizesAreCountedAsTold) {
  MixedPrecision tensors(*calibrated, cost);
  const auto with_header = [](const Graph& g) {
    return bytes_of(g) + 1000 + static_cast<int64_t>(g.find("0")->name.size());
  };
  MixedPrecision files(*calibrated, cost, {.size = with_header});
  for (const int64_t budget : {900, 1200, 1500}) {
    const PrecisionChoice a = tensors.best_within(budget), b = files.best_within(budget + 1001);
    EXPECT_EQ(bits_of(a), bits_of(b));
    EXPECT_EQ(b.size_bytes, a.size_bytes + 1001);
  }
}

TEST_F(MixedPrecisionTest, FindsTheSmallestThatIsGoodEnough) {
  MixedPrecision search(*calibrated, cost);
  const double wanted = search.best_within((search.smallest_size() + search.largest_size()) / 2).cost;
  const auto reaches = [&](const PrecisionChoice& choice, Graph& g) {
    EXPECT_EQ(choice.cost, cost(g));
    return choice.cost <= wanted;
  };
  const PrecisionChoice found = search.smallest_where(reaches);
  EXPECT_LE(found.cost, wanted);
  EXPECT_LE(found.size_bytes, (search.smallest_size() + search.largest_size()) / 2);
  EXPECT_GT(search.best_within(found.size_bytes - found.size_bytes / 50).cost, wanted);

  EXPECT_EQ(search.smallest_where([](const auto&, Graph&) { return true; }).size_bytes, search.smallest_size());
  EXPECT_THAT(error_of([&] { search.smallest_where([](const auto&, Graph&) { return false; }); }),
              HasSubstr("good enough"));
}

TEST_F(MixedPrecisionTest, OfFewBytesTheSmallestThatIsGoodEnoughIsFoundExactly) {
  MixedPrecision search(*calibrated, cost, {.size = [](const Graph& g) { return bytes_of(g) / 40; }});
  ASSERT_LT(search.largest_size(), 100);
  ASSERT_GT(search.largest_size(), search.smallest_size() + 3);
  const int64_t wanted = (search.smallest_size() + search.largest_size()) / 2;
  int trials = 0;
  const auto reaches = [&](const PrecisionChoice& choice, Graph&) {
    if (++trials > 20) throw std::runtime_error("the search does not end");
    return choice.size_bytes >= wanted;
  };
  EXPECT_GE(search.smallest_where(reaches).size_bytes, wanted);
}

TEST_F(MixedPrecisionTest, MeasuresTheMostBitsEverywhereOnce) {
  int graphs = 0;
  const auto counted = [&](Graph& g) {
    ++graphs;
    return cost(g);
  };
  MixedPrecision search(*calibrated, counted, {.weight_bits = {4, 6, 8}});
  EXPECT_EQ(graphs, 1 + 3 * 2);
}

TEST_F(MixedPrecisionTest, TellsHowFarItIs) {
  std::vector<int64_t> done;
  MixedPrecision search(*calibrated, cost, {.weight_bits = {4, 8}, .on_progress = [&](int64_t d, int64_t total) {
                                              done.push_back(d);
                                              EXPECT_EQ(total, 6);
                                            }});
  EXPECT_THAT(done, testing::ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST_F(MixedPrecisionTest, MistakesAreRefused) {
  EXPECT_THROW(MixedPrecision(*calibrated, cost, {.weight_bits = {}}), ValueError);
  EXPECT_THROW(MixedPrecision(*calibrated, cost, {.weight_bits = {1, 8}}), ValueError);
  EXPECT_THROW(MixedPrecision(*calibrated, cost, {.weight_bits = {9}}), ValueError);
  EXPECT_THROW(MixedPrecision(*calibrated, cost, {.weight_observers = {"sharp"}}), ValueError);
  EXPECT_THROW(MixedPrecision(*calibrated, [](Graph&) { return std::nan(""); }), ValueError);
  EXPECT_THROW(CalibratedGraph(graph, QConfigMapping(), [](Graph&) {}), ValueError);
}

}  // namespace
}  // namespace thimble::quant
