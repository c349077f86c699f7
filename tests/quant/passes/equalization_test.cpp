#include <algorithm>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "tests/nn/random_model.h"
#include "tests/quant/conversion.h"
#include <thimble/quant/passes/equalization.h>
#include <thimble/quant/passes/fuse.h>
#include <thimble/quant/qat/qat.h>

namespace thimble::quant {
namespace {

struct Equalized {
  Graph graph;
  EqualizationReport report;
};

NDArray weight_named(const Graph& graph, const std::string& node) {
  return arrays_of(graph.layer(graph.find(node))).at("weight");
}

// To write to.
NDArray& parameter_of(const Graph& graph, const std::string& node, const std::string& name) {
  for (const auto& [path, tensor] : graph.layer(graph.find(node)).state())
    if (path == name) return tensor.mutable_data();
  throw ValueError("there is no such parameter");
}

// Runs the pass and holds it to what it must keep: its input, and what the network computes.
Equalized equalized(const Graph& graph, const Tensor& x) {
  Graph original = graph.clone();
  original.eval();
  const std::string table = graph.table();
  Equalized result;
  result.graph = cross_layer_equalization(graph, &result.report);
  EXPECT_EQ(graph.table(), table);
  EXPECT_EQ(result.graph.table(), table);
  const auto before = arrays_of(original);
  for (const auto& [name, array] : arrays_of(graph))
    EXPECT_EQ(array.to_vector<float>(), before.at(name).to_vector<float>()) << "the input graph's " << name;
  Graph evaluated = result.graph.clone();
  evaluated.eval();
  const auto y = original(x).data().to_vector<double>(), z = evaluated(x).data().to_vector<double>();
  double largest = 0, difference = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    largest = std::max(largest, std::abs(y[i]));
    difference = std::max(difference, std::abs(y[i] - z[i]));
  }
  EXPECT_LE(difference, 1e-4 * largest + 1e-30);
  return result;
}

// Multiplies this output channel's weights and bias.
void scale_output(const Graph& graph, const std::string& node, int64_t channel, double factor) {
  for (const auto& [name, tensor] : graph.layer(graph.find(node)).state()) {
    NDArray part = tensor.mutable_data().slice(0, channel, channel + 1);
    part.copy_from((Tensor(part.clone()) * factor).data());
  }
}

// Of weights [out, in, ...] of a layer without groups.
void scale_input(const Graph& graph, const std::string& node, int64_t begin, int64_t end, double factor) {
  NDArray part = parameter_of(graph, node, "weight").slice(1, begin, end);
  part.copy_from((Tensor(part.clone()) * factor).data());
}

double largest(const NDArray& x) {
  double most = 0;
  for (const double v : x.to_vector<double>()) most = std::max(most, std::abs(v));
  return most;
}

class Equalization : public QuantizeTest {
 protected:
  // The pairs that are found in the model, as "first > second".
  std::vector<std::string> pairs_of(nn::Module& model, const Shape& shape) {
    const Graph graph = fuse_conv_bn_relu(traced(model, shape));
    std::vector<std::string> pairs;
    for (const EqualizedPair& pair : equalized(graph, Tensor(data)).report)
      pairs.push_back(pair.first + " > " + pair.second);
    return pairs;
  }
};

TEST_F(Equalization, KeepsWhatRandomNetworksCompute) {
  size_t pairs = 0;
  double furthest = 1;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    nn::RandomModel model(seed);
    const Graph graph = fuse_conv_bn_relu(nn::trace(model, model.example()));
    SCOPED_TRACE(str("seed ", seed, "\n", graph.table()));
    Generator inputs(seed);
    const Equalized result = equalized(graph, model.input(8, inputs));
    pairs += result.report.size();
    for (const EqualizedPair& pair : result.report) furthest = std::max(furthest, std::ranges::max(pair.factors));
    if (HasFailure()) break;
  }
  EXPECT_GT(pairs, 100u);
  EXPECT_GT(furthest, 2);
}

TEST_F(Equalization, GivesBothSidesOfAChannelTheSameRange) {
  struct Net : nn::Module {
    nn::Submodule<nn::Conv2d> a{this, "a", 2, 4, 3};
    nn::Submodule<nn::Conv2d> b{this, "b", 4, 6, 1};
    nn::Submodule<nn::Linear> c{this, "c", 6 * 9, 5}, d{this, "d", 5, 3};
    Tensor forward(const Tensor& x) override {
      return d(relu(c(flatten(avg_pool2d(max_pool2d(relu(b(relu(a(x)))), 2), 1), 1))));
    }
  } net;
  const Graph graph = fuse_conv_bn_relu(traced(net, {4, 2, 8, 8}));
  const auto [result, report] = equalized(graph, Tensor(data));
  ASSERT_EQ(report.size(), 3u);
  const std::tuple<const char*, const char*, int64_t> pairs[] = {{"a", "b", 1}, {"b", "c", 9}, {"c", "d", 1}};
  size_t i = 0;
  for (const auto& [first, second, pixels] : pairs) {
    EXPECT_EQ(report[i].first, first);
    EXPECT_EQ(report[i].second, second);
    const NDArray a = weight_named(result, first), b = weight_named(result, second);
    EXPECT_EQ(std::ssize(report[i++].factors), a.shape(0));
    for (int64_t c = 0; c < a.shape(0); ++c) {
      const double range = largest(a.slice(0, c, c + 1));
      EXPECT_NEAR(range, largest(b.slice(1, c * pixels, (c + 1) * pixels)), 5e-3 * range) << first << ", channel " << c;
    }
  }
}

TEST_F(Equalization, FindsTheChannelsOfGroupedAndDepthwiseConvolutions) {
  struct Net : nn::Module {
    nn::Submodule<nn::Conv2d> a{this, "a", 2, 4, 1};
    nn::Submodule<nn::Conv2d> depthwise{this, "depthwise", 4, 8, 3, {.groups = 4}};
    nn::Submodule<nn::Conv2d> grouped{this, "grouped", 8, 6, 1, {.groups = 2}};
    Tensor forward(const Tensor& x) override { return grouped(relu(depthwise(relu(a(x))))); }
  } net;
  const Graph graph = fuse_conv_bn_relu(traced(net, {4, 2, 5, 5}));
  const auto [result, report] = equalized(graph, Tensor(data));
  ASSERT_EQ(report.size(), 2u);
  const NDArray a = weight_named(result, "a"), d = weight_named(result, "depthwise"),
                g = weight_named(result, "grouped");
  for (int64_t c = 0; c < 4; ++c)
    EXPECT_NEAR(largest(a.slice(0, c, c + 1)) / largest(d.slice(0, 2 * c, 2 * c + 2)), 1, 5e-3) << c;
  for (int64_t c = 0; c < 8; ++c) {
    const NDArray group = g.slice(0, c / 4 * 3, c / 4 * 3 + 3);
    EXPECT_NEAR(largest(d.slice(0, c, c + 1)) / largest(group.slice(1, c % 4, c % 4 + 1)), 1, 5e-3) << c;
  }
}

TEST_F(Equalization, MakesWeightsPerTensorAsGoodAsTheyCanBe) {
  struct Net : nn::Module {
    nn::Submodule<nn::Conv2d> a{this, "a", 3, 8, 3, {.padding = 1}};
    nn::Submodule<nn::Conv2d> b{this, "b", 8, 8, 3, {.padding = 1}};
    nn::Submodule<nn::Linear> c{this, "c", 8 * 9, 5};
    Tensor forward(const Tensor& x) override { return c(flatten(max_pool2d(relu(b(relu(a(x)))), 2), 1)); }
  } net;
  const Graph even = fuse_conv_bn_relu(traced(net, {32, 3, 6, 6}));
  // The same network, with channels whose ranges are 1 : 1000.
  const Graph uneven = even.clone();
  for (int64_t c = 0; c < 8; ++c) {
    const double factor = std::pow(10.0, 3.0 * static_cast<double>(c) / 7);
    scale_output(uneven, "a", c, factor);
    scale_input(uneven, "b", c, c + 1, 1 / factor);
    scale_output(uneven, "b", c, 1 / factor);
    scale_input(uneven, "c", 9 * c, 9 * c + 9, factor);
  }
  QConfig config;
  config.weight.axis = std::nullopt;
  const QConfigMapping per_tensor = QConfigMapping().set_global(config);
  const auto sqnr_of = [&](const Graph& graph) {
    Converted result = quantized(graph, per_tensor);
    return sqnr(even, result);
  };
  const double before = sqnr_of(uneven), after = sqnr_of(equalized(uneven, Tensor(data)).graph);
  EXPECT_LT(before, 15);
  EXPECT_GT(after, 30);
  EXPECT_GT(after, sqnr_of(even) - 3);
}

TEST_F(Equalization, OfItsOwnResultChangesLittle) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> a{this, "a", 8, 8}, b{this, "b", 8, 8}, c{this, "c", 8, 8};
    Tensor forward(const Tensor& x) override { return c(relu(b(relu(a(x))))); }
  } net;
  const Graph graph = fuse_conv_bn_relu(traced(net));
  const Graph once = equalized(graph, Tensor(data)).graph.clone();
  for (const EqualizedPair& pair : equalized(once, Tensor(data)).report) {
    for (const double factor : pair.factors) EXPECT_NEAR(factor, 1, 0.01);
  }
}

TEST_F(Equalization, CrossesOnlyWhatLetsFactorsThrough) {
  struct Net : nn::Module {
    explicit Net(std::function<Tensor(const Tensor&)> between) : f(std::move(between)) {}
    nn::Submodule<nn::Conv2d> a{this, "a", 2, 3, 3, {.padding = 1}};
    nn::Submodule<nn::Conv2d> b{this, "b", 3, 2, 1};
    std::function<Tensor(const Tensor&)> f;
    Tensor forward(const Tensor& x) override { return b(f(a(x))); }
  };
  const std::vector<std::string> one{"a > b"}, none;
  const std::tuple<const char*, std::function<Tensor(const Tensor&)>, bool> cases[] = {
      {"nothing", [](const Tensor& x) { return x; }, true},
      {"relu", [](const Tensor& x) { return relu(x); }, true},
      {"pools", [](const Tensor& x) { return global_avg_pool2d(max_pool2d(x, 2)); }, true},
      {"relu6", [](const Tensor& x) { return relu6(x); }, false},
      {"clamp", [](const Tensor& x) { return clamp(x, 0, 1); }, false},
      {"tanh", [](const Tensor& x) { return tanh(x); }, false},
      {"x + x", [](const Tensor& x) { return x + x; }, false},
      {"two readers", [](const Tensor& x) { return relu(x) + x; }, false},
      {"x + 1", [](const Tensor& x) { return x + 1.0; }, false},
      {"transpose", [](const Tensor& x) { return transpose(x, 2, 3); }, false},
      {"flatten of pixels", [](const Tensor& x) { return reshape(flatten(x, 2), x.shape()); }, false},
  };
  for (const auto& [name, between, crossed] : cases) {
    Net net(between);
    EXPECT_EQ(pairs_of(net, {2, 2, 6, 6}), crossed ? one : none) << name;
  }
}

TEST_F(Equalization, LeavesALayerThatIsCalledTwice) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> a{this, "a", 8, 8}, b{this, "b", 8, 8};
    Tensor forward(const Tensor& x) override { return b(relu(a(relu(a(x))))); }
  } net;
  EXPECT_TRUE(pairs_of(net, {4, 8}).empty());
}

TEST_F(Equalization, LeavesLinearLayersOnColumnsOfImages) {
  struct Net : nn::Module {
    nn::Submodule<nn::Conv2d> a{this, "a", 2, 6, 1};
    nn::Submodule<nn::Linear> b{this, "b", 6, 4};
    Tensor forward(const Tensor& x) override { return b(relu(a(x))); }
  } net;
  EXPECT_TRUE(pairs_of(net, {2, 2, 6, 6}).empty());
}

TEST_F(Equalization, LeavesTheGraphsOutput) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> a{this, "a", 8, 8}, b{this, "b", 8, 8};
    Tensor forward(const Tensor& x) override { return b(a(x)); }
  } net;
  Graph graph = traced(net);
  graph.set_output(graph.find("a"));
  EqualizationReport report{{"old", "old"}};
  cross_layer_equalization(graph, &report);
  EXPECT_TRUE(report.empty());
}

TEST_F(Equalization, LeavesChannelsOfZeros) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> a{this, "a", 8, 4}, b{this, "b", 4, 8};
    Tensor forward(const Tensor& x) override { return b(relu(a(x))); }
  } net;
  const Graph graph = fuse_conv_bn_relu(traced(net));
  parameter_of(graph, "a", "weight").slice(0, 1, 2).fill(0);
  parameter_of(graph, "b", "weight").slice(1, 2, 3).fill(0);
  const Equalized result = equalized(graph, Tensor(data));
  const auto same = [&](const std::string& node, int axis, int64_t c) {
    return weight_named(graph, node).slice(axis, c, c + 1).to_vector<float>() ==
           weight_named(result.graph, node).slice(axis, c, c + 1).to_vector<float>();
  };
  for (int64_t c = 0; c < 4; ++c) {
    EXPECT_EQ(same("a", 0, c), c == 1 || c == 2) << c;
    EXPECT_EQ(same("b", 1, c), c == 1 || c == 2) << c;
  }
}

TEST_F(Equalization, KeepsModesAndWhatIsFrozen) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> a{this, "a", 8, 4}, b{this, "b", 4, 8};
    Tensor forward(const Tensor& x) override { return b(relu(a(x))); }
  } net;
  Graph graph = fuse_conv_bn_relu(traced(net));
  graph.layer_as<nn::Linear>(graph.find("a"))->weight.set_requires_grad(false);
  graph.train();
  const Graph result = cross_layer_equalization(graph);
  EXPECT_TRUE(result.training());
  EXPECT_FALSE(result.layer_as<nn::Linear>(result.find("a"))->weight.requires_grad());
  EXPECT_TRUE(result.layer_as<nn::Linear>(result.find("b"))->weight.requires_grad());
}

TEST_F(Equalization, RefusesWeightsThatAreNotFinite) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> a{this, "a", 8, 4}, b{this, "b", 4, 8};
    Tensor forward(const Tensor& x) override { return b(relu(a(x))); }
  } net;
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    for (const char* part : {"weight", "bias"}) {
      const Graph graph = fuse_conv_bn_relu(traced(net));
      parameter_of(graph, "a", part).slice(0, 1, 2).fill(bad);
      EXPECT_THROW(cross_layer_equalization(graph), ValueError) << part;
    }
  }
}

// A convolution in front of a depthwise one, whose channels' ranges are 1 : 1000.
struct DepthwiseNet : nn::Module {
  nn::Submodule<nn::Conv2d> a{this, "a", 2, 8, 3, {.padding = 1}};
  nn::Submodule<nn::Conv2d> depthwise{this, "depthwise", 8, 8, 3, {.padding = 1, .groups = 8}};
  nn::Submodule<nn::Conv2d> b{this, "b", 8, 4, 1};
  Tensor forward(const Tensor& x) override { return b(relu(depthwise(leaky_relu(a(x), 0.1)))); }
};

class DepthwiseEqualization : public Equalization {
 protected:
  DepthwiseEqualization() {
    graph = fuse_conv_bn_relu(traced(net, {16, 2, 6, 6}));
    for (int64_t c = 0; c < 8; ++c) {
      const double factor = std::pow(10.0, -3.0 * static_cast<double>(c) / 7);
      scale_output(graph, "a", c, factor);
      NDArray part = parameter_of(graph, "depthwise", "weight").slice(0, c, c + 1);
      part.copy_from((Tensor(part.clone()) * (1 / factor)).data());
    }
  }

  // The largest magnitude of each channel that the depthwise layer reads.
  std::vector<double> ranges(const Graph& of) {
    Graph part = of.clone();
    part.set_output(part.find("depthwise")->inputs[0]);
    part.eliminate_dead_nodes();
    const Tensor y = part(Tensor(data));
    std::vector<double> found;
    for (int64_t c = 0; c < 8; ++c) found.push_back(largest(y.data().slice(1, c, c + 1)));
    return found;
  }

  DepthwiseNet net;
  Graph graph;
  const QConfigMapping mapping = QConfigMapping::static_int8();
};

TEST_F(DepthwiseEqualization, BringsChannelsHalfWayTogether) {
  EqualizationReport report;
  const std::vector<Tensor> batches{Tensor(data.slice(0, 0, 3)), Tensor(data.slice(0, 3, 16))};
  const Graph result = depthwise_equalization(graph, mapping, batches, &report);
  ASSERT_EQ(report.size(), 1u) << "the pair (depthwise, b) is none whose second layer is a depthwise one";
  EXPECT_EQ(report[0].first, "a");
  EXPECT_EQ(report[0].second, "depthwise");
  const std::vector<double> before = ranges(graph), after = ranges(result);
  for (size_t c = 0; c < 8; ++c)
    EXPECT_NEAR(after[c] / before[c], 1 / report[0].factors[c], 1e-4 / report[0].factors[c]);
  const auto spread = [](const std::vector<double>& r) { return std::log(std::ranges::max(r) / std::ranges::min(r)); };
  EXPECT_GT(spread(before), std::log(100.0));
  EXPECT_LT(spread(after), 0.75 * spread(before));
  EXPECT_NEAR(std::ranges::max(after), std::ranges::max(before), 1e-3 * std::ranges::max(before));
}

TEST_F(DepthwiseEqualization, MakesTheIntegersBetterAndTheFloatsNoOthers) {
  const Graph result = depthwise_equalization(graph, mapping, std::vector<Tensor>{Tensor(data)});
  const auto y = Graph(graph.clone())(Tensor(data)).data().to_vector<double>();
  const auto z = Graph(result.clone())(Tensor(data)).data().to_vector<double>();
  for (size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(y[i], z[i], 1e-4 * (1 + std::abs(y[i])));
  const auto sqnr_of = [&](const Graph& g) {
    Converted converted = quantized(g, QConfigMapping::static_int8());
    return sqnr(graph, converted);
  };
  EXPECT_GT(sqnr_of(result), sqnr_of(graph) + 6);
}

TEST_F(DepthwiseEqualization, IsRepeatedFromItsReport) {
  EqualizationReport report;
  const Graph result = depthwise_equalization(graph, mapping, std::vector<Tensor>{Tensor(data)}, &report);
  const Graph again = equalize(graph, report);
  const auto expected = arrays_of(result);
  for (const auto& [name, array] : arrays_of(again))
    EXPECT_EQ(array.to_vector<float>(), expected.at(name).to_vector<float>()) << name;
  const auto refused = [&](const std::function<void(EqualizedPair&)>& change) {
    EqualizationReport other = report;
    change(other[0]);
    EXPECT_THROW(equalize(graph, other), ValueError);
  };
  refused([](EqualizedPair& pair) { pair.first = "b"; });
  refused([](EqualizedPair& pair) { pair.factors.pop_back(); });
  refused([](EqualizedPair& pair) { pair.factors[1] = 0; });
  refused([](EqualizedPair& pair) { pair.factors[1] = std::nan(""); });
  refused([](EqualizedPair& pair) { pair.factors[1] = 1e300; });
}

// Of weights with one scale for all channels the integers would be others.
TEST_F(DepthwiseEqualization, IsForIntegersWithAScaleForEachChannel) {
  const std::vector<Tensor> batches{Tensor(data)};
  const auto pairs_with = [&](const QConfigMapping& m) {
    EqualizationReport report;
    depthwise_equalization(graph, m, batches, &report);
    return report.size();
  };
  EXPECT_EQ(pairs_with(mapping), 1u);
  QConfig per_tensor;
  per_tensor.weight.axis = std::nullopt;
  EXPECT_EQ(pairs_with(QConfigMapping().set_global(per_tensor)), 0u);
  EXPECT_EQ(pairs_with(QConfigMapping::static_int8().set_name("depthwise", per_tensor)), 0u);
  EXPECT_EQ(pairs_with(QConfigMapping::static_int8().set_name("a", std::nullopt)), 0u);
}

TEST_F(DepthwiseEqualization, LooksAtThePairsItChanges) {
  parameter_of(graph, "b", "weight").fill(std::numeric_limits<double>::infinity());
  EXPECT_NO_THROW(depthwise_equalization(graph, mapping, std::vector<Tensor>{Tensor(data)}));
  EXPECT_NO_THROW(equalize(graph, {}));
}

TEST_F(DepthwiseEqualization, NeedsDataOnlyWhereThereIsSomethingToEqualize) {
  EXPECT_THROW(depthwise_equalization(graph, mapping, {}), ValueError);
  Graph other = graph.clone();
  other.set_output(other.find("a"));
  other.eliminate_dead_nodes();
  EXPECT_NO_THROW(depthwise_equalization(other, mapping, {}));
  EXPECT_THROW(depthwise_equalization(graph, mapping, std::vector<Tensor>{NDArray::full({1, 2, 6, 6}, std::nan(""))}),
               ValueError);
}

}  // namespace
}  // namespace thimble::quant
