#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/conversion.h"
#include <thimble/core/ops/elementwise.h>
#include <thimble/nn/layers/batch_norm.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/passes/dynamic.h>
#include <thimble/quant/passes/fuse.h>
#include <thimble/quant/passes/weight_only.h>
#include <thimble/quant/qat/qat.h>

namespace thimble::quant {
namespace {

using testing::HasSubstr;

using Pass = nn::Graph (*)(const nn::Graph&, const QConfigMapping&, ConversionReport*);
struct NamedPass {
  const char* name;
  Pass run;
};
constexpr NamedPass kPasses[] = {{"quantize_dynamic", quantize_dynamic},
                                 {"quantize_weight_only", quantize_weight_only}};

class ReplaceProducts : public QuantizeTest {};

struct Normalized : nn::Module {
  nn::Submodule<nn::Linear> fc{this, "fc", 8, 6};
  nn::Submodule<nn::BatchNorm1d> bn{this, "bn", 6};
  Tensor forward(const Tensor& x) override { return relu(bn(fc(x))); }
};

TEST_F(ReplaceProducts, GraphsThatArePreparedAreRefused) {
  Normalized net;
  const Graph graph = traced(net);
  const QConfigMapping all = QConfigMapping::static_int8();
  const QConfigMapping none = QConfigMapping().set_name("fc", std::nullopt);
  for (const NamedPass& pass : kPasses)
    for (const QConfigMapping& mapping : {all, none}) {
      const std::string qat = error_of([&] { pass.run(prepare_qat(graph, all), mapping, nullptr); });
      EXPECT_THAT(qat, testing::StartsWith(str(pass.name, ": '")));
      EXPECT_THAT(qat, HasSubstr("give the float graph"));
      const std::string observed =
          error_of([&] { pass.run(prepare(fuse_conv_bn_relu(graph), all), mapping, nullptr); });
      EXPECT_THAT(observed, testing::StartsWith(str(pass.name, ": '")));
      EXPECT_THAT(observed, HasSubstr("is an observer; give the float graph"));
    }
}

struct Twice : nn::Module {
  nn::Submodule<nn::Linear> fc{this, "fc", 8, 8};
  Tensor forward(const Tensor& x) override { return fc(relu(fc(x))); }
};

TEST_F(ReplaceProducts, CallsOfOneLayerMustAgreeOnWhatCounts) {
  Twice net;
  const Graph graph = traced(net);
  std::vector<std::string> calls;
  for (const Node* node : graph.nodes())
    if (graph.layer_as<nn::Linear>(node)) calls.push_back(node->name);
  ASSERT_EQ(calls.size(), 2u);
  QConfig four, observed, percentile;
  four.weight.bits = 4;
  observed.weight_observer = "mse";
  percentile.observer = "percentile";
  const std::optional<QConfig> others[] = {four, observed, std::nullopt};
  for (const NamedPass& pass : kPasses) {
    for (const auto& other : others)
      for (const std::string& call : calls) {
        const auto mapping = QConfigMapping::static_int8().set_name(call, other);
        EXPECT_EQ(error_of([&] { pass.run(graph, mapping, nullptr); }),
                  str(pass.name, ": '", calls[0], "' and '", calls[1],
                      "' call the same layer, and their configurations differ"));
      }
    ConversionReport report;
    pass.run(graph, QConfigMapping::static_int8().set_name(calls[1], percentile), &report);
    ASSERT_EQ(report.size(), 2u);
    for (const LayerReport& entry : report) EXPECT_FALSE(entry.kept_float) << pass.name;
  }
  // Activations are float to weight-only layers.
  QConfig six;
  six.activation.bits = 6;
  const auto mapping = QConfigMapping::static_int8().set_name(calls[1], six);
  EXPECT_THROW(quantize_dynamic(graph, mapping), ValueError);
  EXPECT_NO_THROW(quantize_weight_only(graph, mapping));
}

}  // namespace
}  // namespace thimble::quant
