// Graphs and configurations that leave nothing to do are refused, not returned as they are.
#include <algorithm>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/conversion.h"
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/passes/dynamic.h>
#include <thimble/quant/passes/fuse.h>
#include <thimble/quant/passes/weight_only.h>
#include <thimble/quant/qat/qat.h>

namespace thimble::quant {
namespace {

using testing::HasSubstr;

// Every way to quantize a graph.
struct Method {
  const char* name;
  std::function<void(const Graph&, const QConfigMapping&)> run;
};

class NothingToQuantize : public QuantizeTest, public testing::WithParamInterface<Method> {
 protected:
  std::string error(const Graph& graph, const QConfigMapping& mapping = QConfigMapping::static_int8()) {
    const std::string before = graph.table();
    const std::string message = error_of([&] { GetParam().run(graph, mapping); });
    EXPECT_EQ(graph.table(), before);
    return message;
  }
};

TEST_P(NothingToQuantize, IsAnErrorThatSaysWhatToDo) {
  nn::Sequential model(nn::Linear(8, 9), nn::ReLU(), nn::Linear(9, 3));
  const Graph graph = traced(model);
  for (const QConfigMapping& mapping :
       {QConfigMapping(), QConfigMapping().set_type("Conv2d", QConfig()), QConfigMapping().set_name("0.*", QConfig()),
        QConfigMapping::static_int8().set_name("*", std::nullopt)}) {
    const bool unknown = std::ranges::count(mapping.names(), "0.*") > 0;
    EXPECT_THAT(error(graph, mapping), HasSubstr(unknown ? "which the graph does not have; its layers are '0', '2'"
                                                         : "quantizes no layer; give one to '0', '2'"));
  }
  const Graph integers[] = {quantized(graph).graph, quantize_dynamic(graph),
                            quantize_weight_only(graph, QConfigMapping::static_int8())};
  for (const Graph& quantized : integers) EXPECT_THAT(error(quantized), HasSubstr("is quantized already ('0' is a "));
  nn::Sequential tanh(nn::Tanh{});
  EXPECT_THAT(error(traced(tanh)), HasSubstr("has no linear, conv2d or recurrent layer"));
}

// Sums of more products than integers hold.
constexpr int64_t kTooMany = 65537;

TEST_P(NothingToQuantize, AProductOfTooManyInputsIsAnErrorThatSaysSo) {
  nn::Sequential model(nn::Linear(kTooMany, 2));
  EXPECT_THAT(error(traced(model, {2, kTooMany})),
              HasSubstr("would quantize no layer: '0' stays float, since it adds 65537 products up"));
}

// A product that is too large is not why the configuration quantizes no other.
TEST_P(NothingToQuantize, SaysWhatIsAgainstTheProductsThatAreAskedFor) {
  nn::Sequential model(nn::Linear(kTooMany, 2), nn::Linear(2, 3));
  const Graph graph = traced(model, {2, kTooMany});
  EXPECT_THAT(error(graph, QConfigMapping()), HasSubstr("the configuration quantizes no layer; give one to '1' by"));
  EXPECT_THAT(error(graph, QConfigMapping::static_int8().set_name("*", std::nullopt)),
              HasSubstr("the configuration quantizes no layer; give one to '1' by"));
  EXPECT_THAT(error(graph, QConfigMapping::static_int8().set_name("1", std::nullopt)),
              HasSubstr("would quantize no layer: '0' stays float, since it adds 65537 products up"));
}

INSTANTIATE_TEST_SUITE_P(
    Methods, NothingToQuantize,
    testing::Values(Method{"prepare", [](const Graph& g, const QConfigMapping& m) { prepare(g, m); }},
                    Method{"quantize_model",
                           [](const Graph& g, const QConfigMapping& m) {
                             quantize_model(
                                 g, [](Graph&) {}, m);
                           }},
                    Method{"prepare_qat", [](const Graph& g, const QConfigMapping& m) { prepare_qat(g, m); }},
                    Method{"quantize_dynamic", [](const Graph& g, const QConfigMapping& m) { quantize_dynamic(g, m); }},
                    Method{"quantize_weight_only",
                           [](const Graph& g, const QConfigMapping& m) { quantize_weight_only(g, m); }}),
    [](const auto& method) { return method.param.name; });

class Preparation : public QuantizeTest {};

TEST_F(Preparation, AProductOfTooManyInputsStaysFloat) {
  nn::Sequential model(nn::Linear(kTooMany, 3), nn::ReLU(), nn::Linear(3, 2));
  const Graph graph = traced(model, {3, kTooMany});
  Converted result = quantized(graph), dynamic, weight_only;
  dynamic.graph = quantize_dynamic(graph, QConfigMapping::static_int8(), &dynamic.report);
  weight_only.graph = quantize_weight_only(graph, QConfigMapping::static_int8(), &weight_only.report);
  for (const Converted* each : {&result, &dynamic, &weight_only}) {
    EXPECT_TRUE(each->layer("0").kept_float);
    EXPECT_THAT(each->layer("0").reason, HasSubstr("it adds 65537 products up"));
    EXPECT_FALSE(each->layer("2").kept_float);
  }
  EXPECT_GT(sqnr(graph, result), 20);
}

TEST_F(Preparation, AGraphThatWasNotPreparedIsNotConverted) {
  nn::Sequential model(nn::Linear(8, 9), nn::ReLU(), nn::Linear(9, 3));
  const Graph graph = traced(model);
  for (const Graph& never : {graph.clone(), fuse_conv_bn_relu(graph), quantized(graph).graph.clone()})
    EXPECT_THAT(error_of([&] { convert(never); }),
                HasSubstr("convert: the graph was not prepared; give what prepare()"));
}

TEST_F(Preparation, APreparedGraphIsPreparedAnew) {
  nn::Sequential model(nn::Linear(8, 9), nn::ReLU(), nn::Linear(9, 3));
  const Graph graph = traced(model);
  QConfig four;
  four.activation.bits = 4;
  const Graph once = prepare(graph, QConfigMapping::static_int8());
  const Graph again = prepare(once, QConfigMapping().set_global(four));
  EXPECT_EQ(again.table(), prepare(graph, QConfigMapping().set_global(four)).table());
  EXPECT_THAT(
      error_of([&] { prepare(prepare_qat(graph, QConfigMapping::static_int8()), QConfigMapping::static_int8()); }),
      HasSubstr("is a layer of quantization-aware training"));
}

}  // namespace
}  // namespace thimble::quant
