#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/conversion.h"
#include <thimble/core/ops.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv_bn_relu.h>
#include <thimble/nn/layers/dropout.h>
#include <thimble/nn/layers/layer_norm.h>
#include <thimble/nn/layers/pool.h>
#include <thimble/quant/layers/quantized_conv.h>
#include <thimble/quant/observers/observer.h>
#include <thimble/quant/quantize.h>

namespace thimble::quant {
namespace {

using testing::HasSubstr;

TEST_F(QuantizeTest, AnMlpIsIntegerFromEndToEnd) {
  nn::Sequential model(nn::Linear(8, 40), nn::ReLU(), nn::Linear(40, 33), nn::ReLU(), nn::Linear(33, 5));
  const Graph graph = traced(model);
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedLinear"), 3);
  EXPECT_EQ(result.count("Quantize"), 1);
  EXPECT_EQ(result.count("Dequantize"), 0);
  EXPECT_EQ(result.count("relu"), 0);
  EXPECT_EQ(result.graph.nodes().size(), 5u) << result.graph.table();
  ASSERT_EQ(result.report.size(), 3u);
  for (const LayerReport& layer : result.report) {
    EXPECT_FALSE(layer.kept_float);
    EXPECT_EQ(layer.reason, "");
    EXPECT_EQ(layer.weight_bits, 8);
    EXPECT_EQ(layer.activation_bits, 8);
  }
  EXPECT_EQ(result.layer("0").type, "LinearReLU");
  EXPECT_GT(sqnr(graph, result), 30);
  for (const auto& [path, layer] : result.graph.children()) EXPECT_FALSE(layer->training()) << path;
  expect_integers(result.graph);
  expect_deterministic(result.graph);
}

// The whole way once more by hand, from the float weights: ranges, scales, integers, answer.
TEST_F(QuantizeTest, AnMlpIsExactlyWhatTheArithmeticSays) {
  for (const int bits : {8, 4}) {
    nn::Sequential model(nn::Linear(8, 12), nn::ReLU(), nn::Linear(12, 5));
    const Graph graph = traced(model, {20, 8});
    QConfig config;
    config.weight.bits = bits;
    config.activation.bits = bits;
    Converted result = quantized(graph, QConfigMapping().set_global(config));
    const auto got = result.graph(Tensor(data)).data().to_vector<float>();

    const auto qmax = static_cast<float>((1 << bits) - 1), wmax = static_cast<float>((1 << (bits - 1)) - 1);
    auto arrays = arrays_of(graph);
    Tensor h = data;
    std::vector<int32_t> q;
    for (const bool first : {true, false}) {
      const std::string name = first ? "0." : "2.";
      const NDArray weight = arrays.at(name + "weight"), bias = arrays.at(name + "bias");
      const auto in = static_cast<size_t>(weight.shape(1)), out = static_cast<size_t>(weight.shape(0));
      auto range_of = [](const Tensor& t) {
        float min = 0, max = 0;
        for (const float v : t.data().to_vector<float>()) min = std::min(min, v), max = std::max(max, v);
        return std::pair(min, max);
      };
      const auto [min, max] = range_of(h);
      const float sx = (max - min) / qmax;
      const auto zx = static_cast<int32_t>(std::nearbyint(-min / sx));
      if (first)
        for (const float v : data.to_vector<float>())
          q.push_back(static_cast<int32_t>(std::clamp(std::nearbyint(v / sx) + static_cast<float>(zx), 0.0f, qmax)));
      if (first) h = relu(linear(h, weight, bias));
      const float sy = range_of(h).second / qmax;  // of the hidden layer, whose smallest value is 0
      const auto w = weight.to_vector<float>(), b = bias.to_vector<float>();
      std::vector<float> y;
      for (size_t row = 0; row < q.size() / in; ++row)
        for (size_t o = 0; o < out; ++o) {
          float most = 0;
          for (size_t i = 0; i < in; ++i) most = std::max(most, std::abs(w[o * in + i]));
          const float sw = most / wmax;
          const int shift = 1 << (8 - bits);
          const float step = sw / static_cast<float>(shift);  // weights count as 8-bit ones
          auto sum = static_cast<int32_t>(std::nearbyint(double{b[o]} / (double{sx} * double{step})));
          for (size_t i = 0; i < in; ++i)
            sum += (q[row * in + i] - zx) * static_cast<int32_t>(std::nearbyint(w[o * in + i] / sw)) * shift;
          const double output_scale = first ? double{sy} : 1.0;
          const auto multiplier = static_cast<float>(double{sx} * double{step} / output_scale);
          y.push_back(static_cast<float>(sum) * multiplier);
        }
      if (!first) {
        EXPECT_EQ(got, y);
        continue;
      }
      q.clear();
      for (const float v : y) q.push_back(static_cast<int32_t>(std::clamp(std::nearbyint(v), 0.0f, qmax)));
    }
  }
}

TEST_F(QuantizeTest, AResidualAdditionIsInteger) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> fc1{this, "fc1", 8, 8}, fc2{this, "fc2", 8, 8}, fc3{this, "fc3", 8, 3};
    Tensor forward(const Tensor& x) override {
      const Tensor h = relu(fc1(x));
      return fc3(relu(fc2(h) + h));
    }
  } model;
  const Graph graph = traced(model);
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedLinear"), 3);
  EXPECT_EQ(result.count("QuantizedAdd"), 1) << result.graph.table();
  EXPECT_FALSE(result.layer("add").kept_float);
  EXPECT_EQ(result.count("Quantize"), 1) << "of the input";
  EXPECT_EQ(result.count("Dequantize"), 0);
  EXPECT_GT(sqnr(graph, result), 28);
  expect_integers(result.graph);
  expect_deterministic(result.graph);
}

// Outputs that integer layers read, too, are floats under the names that they had.
TEST_F(QuantizeTest, SeveralOutputsStayFloatsUnderTheirNames) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> a{this, "a", 8, 16}, b{this, "b", 16, 16}, c{this, "c", 16, 5};
    std::vector<Tensor> forward_outputs(std::span<const Tensor> inputs) override {
      const Tensor h = relu(a(inputs[0])), sum = h + b(h), bounded = relu(sum);
      return {sum, c(bounded), bounded, h};
    }
  } net;
  const Graph graph = traced(net);
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedLinear"), 3);
  EXPECT_EQ(result.count("QuantizedAdd"), 1);
  Graph reference = graph.clone();
  reference.eval();
  const std::vector<Tensor> inputs{Tensor(data)}, expected = reference.call_outputs(inputs),
                                                  got = result.graph.call_outputs(inputs);
  ASSERT_EQ(got.size(), 4u);
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(result.graph.outputs()[i].name, graph.outputs()[i].name);
    EXPECT_EQ(got[i].dtype(), DType::float32);
    const NDArray error = sub(got[i], expected[i]).data();
    EXPECT_LT(sum(Tensor(error) * Tensor(error)).item<float>(), 1e-3 * sum(expected[i] * expected[i]).item<float>());
  }
}

TEST_F(QuantizeTest, AnAdditionThatNoProductReadsStaysFloat) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> fc1{this, "fc1", 8, 8}, fc2{this, "fc2", 8, 8};
    Tensor forward(const Tensor& x) override {
      const Tensor h = fc1(x);
      return fc2(h) + h;
    }
  } model;
  const Graph graph = traced(model);
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedAdd"), 0);
  EXPECT_TRUE(result.layer("add").kept_float);
  EXPECT_GT(sqnr(graph, result), 30);
}

TEST_F(QuantizeTest, AConvolutionalNetworkIsIntegerFromEndToEnd) {
  struct Net : nn::Module {
    nn::Submodule<nn::ConvBNReLU> a{this, "a", 3, 20, 3, nn::Conv2d::Options{.padding = 1}};
    nn::Submodule<nn::ConvBNReLU> b{this, "b", 20, 20, 3, nn::Conv2d::Options{.padding = 1, .groups = 20}};
    nn::Submodule<nn::Conv2d> c{this, "c", 20, 12, 1}, d{this, "d", 20, 8, 3, nn::Conv2d::Options{.padding = 1}};
    nn::Submodule<nn::Linear> fc{this, "fc", 20, 5};
    Tensor forward(const Tensor& x) override {
      Tensor h = max_pool2d(a(x), 2);
      h = relu(h + b(h));
      return fc(flatten(adaptive_avg_pool2d(concat({c(h), relu(d(h))}, 1), 1), 1));
    }
  } model;
  const Graph graph = traced(model, {6, 3, 8, 8});
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedConv2d"), 4) << result.graph.table();
  EXPECT_EQ(result.count("QuantizedLinear"), 1);
  EXPECT_EQ(result.count("QuantizedAdd"), 1);
  EXPECT_EQ(result.count("Quantize"), 1);
  EXPECT_EQ(result.count("Dequantize"), 0);
  EXPECT_GT(sqnr(graph, result), 24);
  expect_integers(result.graph);
  expect_deterministic(result.graph);
}

TEST_F(QuantizeTest, AReluThatOthersReadAroundIsAClamp) {
  struct Net : nn::Module {
    nn::Submodule<nn::Conv2d> a{this, "a", 3, 8, 3}, b{this, "b", 8, 8, 1}, c{this, "c", 8, 8, 1};
    nn::Submodule<nn::Conv2d> d{this, "d", 8, 4, 1};
    Tensor forward(const Tensor& x) override {
      const Tensor h = a(x);
      return d(b(relu(h)) + c(h));
    }
  } model;
  const Graph graph = traced(model, {4, 3, 6, 6});
  Converted result = quantized(graph);
  ASSERT_TRUE(result.graph.is_layer(result.graph.find("relu"), "QuantizedClamp")) << result.graph.table();
  const Attributes clamp = result.graph.layer(result.graph.find("relu")).attributes();
  const auto* first = result.graph.layer_as<QuantizedConv2d>(result.graph.find("a"));
  EXPECT_EQ(clamp.get<int64_t>("low"), first->quantization().output->zero_point);
  EXPECT_GT(clamp.get<int64_t>("low"), 0);
  EXPECT_EQ(clamp.get<int64_t>("high"), 255);
  EXPECT_EQ(result.count("Quantize"), 1);
  EXPECT_EQ(result.count("Dequantize") + result.count("relu"), 0);
  EXPECT_GT(sqnr(graph, result), 28);
  expect_deterministic(result.graph);
}

// The range of what stands before it begins and ends where the clamp would cut, so nothing remains to be done.
TEST_F(QuantizeTest, AClampOfAValueOfItsOwnCostsNothing) {
  struct Net : nn::Module {
    nn::Submodule<nn::Conv2d> a{this, "a", 3, 8, 3}, b{this, "b", 8, 8, 1}, c{this, "c", 8, 8, 1};
    nn::Submodule<nn::Linear> fc{this, "fc", 8, 4};
    Tensor forward(const Tensor& x) override {
      Tensor h = relu(max_pool2d(a(x), 2));
      h = relu6(b(h));
      h = clamp(c(h) + h, -1, 2);
      return fc(flatten(global_avg_pool2d(upsample_nearest2d(h, 2)), 1));
    }
  } model;
  const Graph graph = traced(model, {8, 3, 8, 8});
  Converted result = quantized(graph);
  for (const char* gone : {"relu", "relu6", "clamp", "QuantizedClamp", "Dequantize"})
    EXPECT_EQ(result.count(gone), 0) << gone << '\n' << result.graph.table();
  EXPECT_EQ(result.count("Quantize"), 1);
  EXPECT_EQ(result.count("upsample_nearest2d"), 1);
  EXPECT_EQ(result.graph.layer_as<QuantizedConv2d>(result.graph.find("a"))->quantization().output->zero_point, 0);
  EXPECT_EQ(result.graph.layer_as<QuantizedConv2d>(result.graph.find("b"))->quantization().output->scale, 6.0f / 255);
  for (const LayerReport& layer : result.report) EXPECT_FALSE(layer.kept_float) << layer.name;
  EXPECT_GT(sqnr(graph, result), 24);
  expect_integers(result.graph);
  expect_deterministic(result.graph);
}

// As modules, as a float graph (recording and on the executor) and as an integer one.
TEST_F(QuantizeTest, BadInputsAreErrorsThatNameLayerAndNumbers) {
  struct Block : nn::Module {
    nn::Submodule<nn::Conv2d> conv{this, "conv", 3, 4, 3};
    nn::Submodule<nn::BatchNorm2d> bn{this, "bn", 4};
    nn::Submodule<nn::MaxPool2d> pool{this, "pool", 2};
    Tensor forward(const Tensor& x) override { return pool(relu(bn(conv(x)))); }
  };
  struct Net : nn::Module {
    nn::Submodule<Block> block1{this, "block1"};
    nn::Submodule<nn::Conv2d> last{this, "last", 4, 2, 2};
    Tensor forward(const Tensor& x) override { return last(block1(x)); }
  } model;
  Graph graph = traced(model, {2, 3, 9, 9});
  Converted int8 = quantized(graph);
  EXPECT_EQ(int8.count("QuantizedConv2d"), 2);
  const auto expect_error = [&](const Shape& shape, const char* layer, const std::vector<std::string>& numbers) {
    const auto check_message = [&](const auto& call, const std::string& where) {
      try {
        call();
        ADD_FAILURE() << where << " takes " << shape;
      } catch (const ShapeError& e) {
        EXPECT_THAT(e.what(), testing::StartsWith(where));
        for (const std::string& number : numbers) EXPECT_THAT(e.what(), HasSubstr(number));
      }
    };
    const Tensor x = NDArray::ones(shape);
    check_message([&] { model(x); }, layer);
    check_message([&] { graph(x); }, layer);
    check_message([&] { int8.graph(x); }, layer);
    const NoGrad guard;
    check_message([&] { graph(x); }, layer);
    check_message([&] { int8.graph(x); }, layer);
  };
  expect_error({2, 1, 9, 9}, "block1.conv: ", {"[4,3,3,3] expects 3 input channels, got 1", "[2,1,9,9]"});
  expect_error({0, 3, 9, 9}, "block1.conv: ", {"the batch is empty (input [0,3,9,9])"});
  expect_error({2, 3, 2, 9}, "block1.conv: ", {"kernel of 3x3", "padded input, 2x9", "[2,3,2,9]"});
  expect_error({2, 3, 3, 9}, "block1.pool: ", {"kernel of 2", "padded input, 1"});
  expect_error({2, 3, 5, 4}, "last: ", {"kernel of 2x2", "padded input, 1x1"});
  expect_error({2, 3, 9}, "block1.conv: ", {"[batch, channels, height, width]", "[2,3,9]"});
  struct Wrong : nn::Module {
    nn::Submodule<nn::Conv2d> conv{this, "conv", 4, 6, 3, nn::Conv2d::Options{.groups = 4}};
  };
  EXPECT_THAT([] { Wrong(); }, testing::ThrowsMessage<ShapeError>(
                                   "conv: Conv2d: groups 4 do not divide in_channels 4 and out_channels 6"));
}

// Between convolutions, between linear layers and in a residual.
TEST_F(QuantizeTest, FloatOpsInTheMiddleAreReportedAndStayClose) {
  struct Net : nn::Module {
    nn::Submodule<nn::Conv2d> conv1{this, "conv1", 3, 8, 3},
        conv2{this, "conv2", 8, 8, 3, nn::Conv2d::Options{.padding = 1}};
    nn::Submodule<nn::LayerNorm> norm{this, "norm", Shape{8}};
    nn::Submodule<nn::Linear> fc1{this, "fc1", 8, 16}, fc2{this, "fc2", 16, 5};
    Tensor forward(const Tensor& x) override {
      Tensor h = gelu(conv1(x));
      h = local_response_norm(h + conv2(h), 3);
      h = norm(flatten(global_avg_pool2d(h), 1));
      return fc2(gelu(fc1(h)));
    }
  } model;
  const Graph graph = traced(model, {8, 3, 8, 8});
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedConv2d"), 2);
  EXPECT_EQ(result.count("QuantizedLinear"), 2);
  EXPECT_EQ(result.count("QuantizedTable"), 2);
  for (const char* kept : {"norm", "local_response_norm"}) {
    EXPECT_TRUE(result.layer(kept).kept_float) << kept;
    EXPECT_EQ(result.layer(kept).weight_bits, 32) << kept;
  }
  EXPECT_EQ(result.layer("local_response_norm").reason, "it has no integer form");
  EXPECT_EQ(result.layer("norm").reason, "its input 'flatten' is float");
  EXPECT_EQ(result.layer("norm").type, "LayerNorm");
  EXPECT_EQ(result.layer("add").reason, "no integer layer reads its result");
  for (const char* integer : {"conv1", "conv2", "fc1", "fc2", "gelu", "gelu_1"})
    EXPECT_FALSE(result.layer(integer).kept_float) << integer;
  EXPECT_GT(sqnr(graph, result), 25);
  expect_integers(result.graph);
}

TEST_F(QuantizeTest, DropoutPassesIntegersOn) {
  nn::Sequential model(nn::Linear(8, 16), nn::Dropout(0.5), nn::ReLU(), nn::Dropout(0.5), nn::Linear(16, 4));
  const Graph graph = traced(model);
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedLinear"), 2);
  EXPECT_EQ(result.count("Quantize"), 1) << result.graph.table();
  EXPECT_EQ(result.count("Dequantize") + result.count("relu"), 0);
  EXPECT_EQ(result.report.size(), 2u);
  expect_deterministic(result.graph);
}

// Which has no integer form.
struct LogSoftmax : nn::Module {
  Tensor forward(const Tensor& x) override { return log_softmax(x, -1); }
};

TEST_F(QuantizeTest, AReluOfFloatsStaysFloat) {
  nn::Sequential model(nn::Linear(8, 8), LogSoftmax(), nn::ReLU(), nn::Linear(8, 4));
  const Graph graph = traced(model);
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("relu"), 1);
  EXPECT_EQ(result.layer("2").reason, "its input '1' is float");
  EXPECT_GT(sqnr(graph, result), 30);
}

// The mean of a channel says little about the range of its pixels.
TEST_F(QuantizeTest, AConcatenationOfMeansDoesNotNarrowWhatIsAveraged) {
  struct Net : nn::Module {
    nn::Submodule<nn::Conv2d> a{this, "a", 3, 8, 3}, b{this, "b", 3, 8, 3};
    nn::Submodule<nn::Linear> fc{this, "fc", 16, 4};
    Tensor forward(const Tensor& x) override {
      return fc(flatten(concat({global_avg_pool2d(a(x)), global_avg_pool2d(b(x))}, 1), 1));
    }
  } model;
  const Graph graph = traced(model, {4, 3, 12, 12});
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedConv2d"), 2);
  EXPECT_EQ(result.count("Requantize"), 2) << result.graph.table();
  EXPECT_EQ(result.count("Dequantize"), 0);
  EXPECT_GT(sqnr(graph, result), 15);
  expect_deterministic(result.graph);
}

// What the pool leaves out of a value, another layer reads.
TEST_F(QuantizeTest, AConcatenationDoesNotNarrowWhatOthersRead) {
  struct Net : nn::Module {
    nn::Submodule<nn::Conv2d> a{this, "a", 3, 8, 1}, b{this, "b", 3, 8, 1}, c{this, "c", 16, 4, 1},
        d{this, "d", 8, 4, 1};
    Tensor forward(const Tensor& x) override {
      const Tensor h = a(x);
      return c(concat({max_pool2d(h, 4), max_pool2d(b(x), 4)}, 1)) + max_pool2d(d(h), 4);
    }
  } model;
  const Graph graph = traced(model, {4, 3, 8, 8});
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedConv2d"), 4);
  EXPECT_EQ(result.count("Requantize"), 1) << result.graph.table();
  EXPECT_GT(sqnr(graph, result), 25);
  expect_integers(result.graph);
}

// As in a DenseNet: what is concatenated is concatenated again, and read in between.
TEST_F(QuantizeTest, ConcatenationsOfConcatenationsAreInteger) {
  struct Net : nn::Module {
    nn::Submodule<nn::Conv2d> a{this, "a", 3, 4, 3}, b{this, "b", 4, 4, 1}, c{this, "c", 8, 4, 1},
        d{this, "d", 12, 5, 1};
    Tensor forward(const Tensor& x) override {
      const Tensor first = relu(a(x));
      const Tensor second = concat({first, relu(b(first))}, 1);
      return d(concat({second, relu(c(second))}, 1));
    }
  } model;
  const Graph graph = traced(model, {4, 3, 7, 7});
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedConv2d"), 4);
  EXPECT_EQ(result.count("Requantize") + result.count("Dequantize"), 0) << result.graph.table();
  EXPECT_GT(sqnr(graph, result), 28);
  expect_integers(result.graph);
  expect_deterministic(result.graph);
}

TEST_F(QuantizeTest, ALongChainOfDiamondsIsPrepared) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> first{this, "first", 8, 8}, last{this, "last", 8, 4};
    Tensor forward(const Tensor& x) override {
      Tensor h = first(x);
      for (int i = 0; i < 40; ++i) h = h + reshape(h, {-1, 8});
      return last(h);
    }
  } model;
  const Graph graph = traced(model);
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedAdd"), 40);
}

TEST_F(QuantizeTest, ActivationsBetweenIntegersAreTables) {
  for (const char* op : {"celu", "elu", "gelu", "gelu_tanh", "hardsigmoid", "hardswish", "leaky_relu", "mish", "selu",
                         "sigmoid", "silu", "softplus", "softsign", "tanh"}) {
    SCOPED_TRACE(op);
    nn::Sequential model(nn::Linear(8, 16), nn::Linear(16, 4));
    Graph graph = traced(model);
    Node* first = graph.find("0");
    const Attributes parameters{
        {"alpha", 1.5}, {"beta", 1.0}, {"scale", 0.5}, {"threshold", 20.0}, {"negative_slope", 0.1}};
    Node* y = graph.add_op("activation", op, make_op(op, parameters)->attributes(), {first}, first);
    graph.set_input(graph.find("1"), 0, y);
    Converted result = quantized(graph);
    EXPECT_EQ(result.count("QuantizedTable"), 1);
    EXPECT_EQ(result.count("Quantize"), 1);
    EXPECT_EQ(result.count("Dequantize"), 0);
    EXPECT_FALSE(result.layer("activation").kept_float);
    EXPECT_GT(sqnr(graph, result), 25);
    expect_integers(result.graph);
    expect_deterministic(result.graph);
  }
}

// However they are spelled, as one: nobody needs what is between.
TEST_F(QuantizeTest, FunctionsOfOneValueAreTables) {
  using Function = Tensor (*)(const Tensor&);
  const std::pair<const char*, Function> functions[] = {
      {"swish", [](const Tensor& x) { return x * sigmoid(x); }},
      {"hard swish", [](const Tensor& x) { return x * relu6(x + 3.0) / 6.0; }},
      {"leaky relu", [](const Tensor& x) { return maximum(x, 0.2 * x); }},
      {"clamped", [](const Tensor& x) { return clamp(0.5 * x + 0.25, 0, 0.75); }},
      {"gelu", [](const Tensor& x) { return 0.5 * x * (1.0 + erf(x / 1.4142135)); }},
      {"chain", [](const Tensor& x) { return exp(-tanh(softplus(x))); }},
  };
  for (const auto& [name, function] : functions) {
    SCOPED_TRACE(name);
    struct Net : nn::Module {
      explicit Net(Function activation) : f(activation) {}
      nn::Submodule<nn::Linear> first{this, "first", 8, 16}, last{this, "last", 16, 4};
      Function f;
      Tensor forward(const Tensor& x) override { return last(f(first(x))); }
    } model(function);
    const Graph graph = traced(model);
    Converted result = quantized(graph);
    EXPECT_EQ(result.count("QuantizedTable"), 1) << result.graph.table();
    EXPECT_EQ(result.graph.nodes().size(), 5u) << result.graph.table();
    for (const LayerReport& entry : result.report) EXPECT_FALSE(entry.kept_float) << entry.name << ": " << entry.reason;
    EXPECT_GT(sqnr(graph, result), 30);
    expect_integers(result.graph);
    expect_deterministic(result.graph);
  }
}

// An op of constants alone stands in front of the one that reads the value.
TEST_F(QuantizeTest, AFunctionMayComputeItsConstants) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> first{this, "first", 8, 16}, last{this, "last", 16, 4};
    Tensor log_scale = register_parameter("log_scale", NDArray::full({1}, -1));
    Tensor forward(const Tensor& x) override { return last(tanh(first(x) * exp(log_scale))); }
  } model;
  const Graph graph = traced(model);
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedTable"), 1) << result.graph.table();
  EXPECT_GT(sqnr(graph, result), 30);
  expect_integers(result.graph);
}

TEST_F(QuantizeTest, WhatIsReadWithinAFunctionIsNotPartOfIt) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> first{this, "first", 8, 16}, last{this, "last", 16, 4}, other{this, "other", 16, 4};
    Tensor forward(const Tensor& x) override {
      const Tensor h = first(x), gate = sigmoid(h);
      return last(tanh(h * gate)) + other(gate);
    }
  } model;
  const Graph graph = traced(model);
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedTable"), 2) << result.graph.table();
  EXPECT_EQ(result.count("QuantizedMul"), 1);
  EXPECT_EQ(result.count("Dequantize"), 0);
  EXPECT_GT(sqnr(graph, result), 25);
  expect_integers(result.graph);
}

TEST_F(QuantizeTest, ConstantsOfAdditionsBecomeIntegers) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> first{this, "first", 8, 16}, last{this, "last", 16, 4};
    Tensor position = register_parameter("position", randn({1, 16}, default_generator()));
    Tensor forward(const Tensor& x) override { return last(position + first(x)); }
  } model;
  const Graph graph = traced(model);
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedAdd"), 1) << result.graph.table();
  EXPECT_EQ(result.count("Quantize"), 1);
  EXPECT_GT(sqnr(graph, result), 30);
  expect_integers(result.graph);
  expect_deterministic(result.graph);
}

// Squeeze and excitation.
TEST_F(QuantizeTest, GatesMultiplyIntegers) {
  struct Net : nn::Module {
    nn::Submodule<nn::Conv2d> stem{this, "stem", 3, 20, 3}, squeeze{this, "squeeze", 20, 6, 1},
        excite{this, "excite", 6, 20, 1}, head{this, "head", 20, 5, 1};
    Tensor forward(const Tensor& x) override {
      const Tensor h = hardswish(stem(x));
      const Tensor gate = hardsigmoid(excite(relu(squeeze(global_avg_pool2d(h)))));
      return flatten(global_avg_pool2d(head(gate * h)), 1);
    }
  } model;
  const Graph graph = traced(model, {8, 3, 9, 8});
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedMul"), 1);
  EXPECT_EQ(result.count("QuantizedTable"), 2);
  EXPECT_EQ(result.count("Quantize"), 1) << result.graph.table();
  for (const LayerReport& entry : result.report) EXPECT_FALSE(entry.kept_float) << entry.name << ": " << entry.reason;
  EXPECT_GT(sqnr(graph, result), 25);
  expect_integers(result.graph);
  expect_deterministic(result.graph);
}

TEST_F(QuantizeTest, AnOpWithoutAnIntegerFormStaysFloatAndIsReported) {
  nn::Sequential model(nn::Linear(8, 16), LogSoftmax(), nn::Linear(16, 4));
  const Graph graph = traced(model);
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("log_softmax"), 1);
  const LayerReport& norm = result.layer("1");
  EXPECT_TRUE(norm.kept_float);
  EXPECT_EQ(norm.type, "log_softmax");
  EXPECT_EQ(norm.weight_bits, 32);
  EXPECT_EQ(norm.reason, "it has no integer form");
  EXPECT_EQ(result.report.size(), 3u);
  EXPECT_EQ(result.count("Quantize"), 2);
  EXPECT_GT(sqnr(graph, result), 30);
  expect_integers(result.graph);
}

TEST_F(QuantizeTest, OpsThatMoveElementsPassIntegersOn) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> fc1{this, "fc1", 8, 12}, fc2{this, "fc2", 6, 4};
    Tensor forward(const Tensor& x) override {
      const Tensor h = relu(fc1(flatten(x, 1)));
      return fc2(transpose(reshape(h, {-1, 6, 2}), 1, 2));
    }
  } model;
  const Graph graph = traced(model, {16, 2, 4});
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedLinear"), 2);
  EXPECT_EQ(result.count("Quantize"), 1) << result.graph.table();
  EXPECT_EQ(result.count("Dequantize"), 0) << result.graph.table();
  const std::vector<Node*> nodes = result.graph.nodes();
  const auto values = result.graph.run_all(std::vector<Tensor>{data});
  int moved = 0;
  for (size_t i = 0; i < nodes.size(); ++i)
    if (nodes[i]->kind == Node::Kind::op) {
      EXPECT_EQ(values[i].dtype(), DType::uint8) << nodes[i]->name;
      ++moved;
    }
  EXPECT_EQ(moved, 3);
  EXPECT_GT(sqnr(graph, result), 30);
  expect_integers(result.graph);
  expect_deterministic(result.graph);
}

TEST_F(QuantizeTest, TheConfigurationKeepsLayersFloatByNameAndByType) {
  nn::Sequential model(nn::Linear(8, 9), nn::ReLU(), nn::Linear(9, 9), nn::ReLU(), nn::Linear(9, 3));
  const Graph graph = traced(model);
  Converted by_name = quantized(graph, QConfigMapping::static_int8().set_name("2", std::nullopt));
  EXPECT_EQ(by_name.count("QuantizedLinear"), 2);
  EXPECT_EQ(by_name.layer("2").reason, "its configuration keeps it float");
  EXPECT_EQ(by_name.count("LinearReLU"), 1);
  expect_integers(by_name.graph);
  Converted by_type = quantized(graph, QConfigMapping::static_int8().set_type("LinearReLU", std::nullopt));
  EXPECT_EQ(by_type.count("QuantizedLinear"), 1);
  EXPECT_FALSE(by_type.layer("4").kept_float);
  // A name counts more than a type, a type more than the global configuration.
  Converted both = quantized(graph, QConfigMapping().set_type("LinearReLU", QConfig()).set_name("0", std::nullopt));
  EXPECT_TRUE(both.layer("0").kept_float);
  EXPECT_FALSE(both.layer("2").kept_float);
  EXPECT_TRUE(both.layer("4").kept_float);
}

TEST_F(QuantizeTest, EachLayerGetsItsOwnBits) {
  nn::Sequential model(nn::Linear(8, 9), nn::ReLU(), nn::Linear(9, 3));
  const Graph graph = traced(model);
  QConfig four;
  four.weight.bits = 4;
  four.activation.bits = 6;
  Converted result = quantized(graph, QConfigMapping::static_int8().set_name("2", four));
  EXPECT_EQ(result.layer("0").weight_bits, 8);
  EXPECT_EQ(result.layer("0").activation_bits, 8);
  EXPECT_EQ(result.layer("2").weight_bits, 4);
  EXPECT_EQ(result.layer("2").activation_bits, 6);
  EXPECT_EQ(arrays_of(result.graph).at("2.weight").shape(), Shape({3, 5}));  // 9 half bytes a row
  const auto* layer = result.graph.layer_as<QuantizedLinear>(result.graph.find("2"));
  ASSERT_NE(layer, nullptr);
  int most = 0;
  for (const int v : layer->weights().unpacked().to_vector<int32_t>()) most = std::max(most, std::abs(v));
  EXPECT_EQ(most, 7);
  expect_integers(result.graph);
}

TEST_F(QuantizeTest, FewerBitsMeanMoreNoise) {
  nn::Sequential model(nn::Linear(8, 30), nn::ReLU(), nn::Linear(30, 6));
  const Graph graph = traced(model, {200, 8});
  double before = -1e9;
  for (int bits = 2; bits <= 8; ++bits) {
    QConfig config;
    config.weight.bits = bits;
    config.activation.bits = bits;
    Converted result = quantized(graph, QConfigMapping().set_global(config));
    const double now = sqnr(graph, result);
    EXPECT_GT(now, before + 2) << bits << " bits";
    expect_integers(result.graph);
    before = now;
  }
}

TEST_F(QuantizeTest, AValueMayBeReadByIntegerAndFloatNodes) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> fc1{this, "fc1", 8, 8}, fc2{this, "fc2", 8, 8}, fc3{this, "fc3", 8, 8};
    Tensor forward(const Tensor& x) override {
      const Tensor h = fc1(x);
      return fc2(h) + fc3(h) * gelu(h) + x;
    }
  } model;
  const Graph graph = traced(model);
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedLinear"), 3);
  EXPECT_EQ(result.count("Quantize"), 1) << "one for the input";
  EXPECT_EQ(result.count("Dequantize"), 1) << "one for gelu, of what fc1 gives";
  EXPECT_GT(sqnr(graph, result), 28);
  expect_integers(result.graph);
  expect_deterministic(result.graph);
}

TEST_F(QuantizeTest, AnIntegerValueMayBeTheOutput) {
  Graph graph;
  Node* input = graph.add_input("input");
  Node* fc1 = graph.add_layer("fc1", std::make_shared<nn::Linear>(8, 8), {input});
  Node* fc2 = graph.add_layer("fc2", std::make_shared<nn::Linear>(8, 8), {fc1});
  graph.add_op("add", "add", {}, {fc2, fc1});
  graph.set_output(fc1);
  data = random_normal({16, 8}, rng);
  Converted result = quantized(graph);
  EXPECT_GT(sqnr(graph, result), 30);
}

TEST_F(QuantizeTest, SeveralInputs) {
  Graph graph;
  Node* a = graph.add_input("a");
  Node* b = graph.add_input("b");
  Node* fc1 = graph.add_layer("fc1", std::make_shared<nn::Linear>(8, 4), {a});
  Node* fc2 = graph.add_layer("fc2", std::make_shared<nn::Linear>(6, 4), {b});
  graph.set_output(graph.add_op("add", "add", {}, {fc1, fc2}));
  const Tensor x = random_normal({5, 8}, rng), y = random_normal({5, 6}, rng);
  Graph result = quantize_model(graph, [&](Graph& prepared) { prepared(x, y); });
  const auto expected = graph(x, y).data().to_vector<float>(), got = result(x, y).data().to_vector<float>();
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 0.1);
}

TEST_F(QuantizeTest, APreparedGraphComputesWhatTheFloatGraphDoes) {
  nn::Sequential model(nn::Linear(8, 9), nn::ReLU(), nn::Linear(9, 3));
  Graph graph = traced(model);
  Graph prepared = prepare(graph, QConfigMapping::static_int8());
  const Tensor expected = graph.run_all(std::vector<Tensor>{data}).back();  // node by node, as observers run
  EXPECT_EQ(prepared(Tensor(data)).data().to_vector<float>(), expected.data().to_vector<float>());
  EXPECT_FALSE(prepared.training());
  // convert() leaves it as it is: it can go on being calibrated.
  const std::string before = prepared.table();
  Graph first = convert(prepared);
  EXPECT_EQ(prepared.table(), before);
  NDArray wider = data.clone();
  for (int64_t i = 0; i < wider.numel(); ++i) wider.data<float>()[i] *= 100;
  prepared(Tensor(wider));
  Graph second = convert(prepared);
  EXPECT_NE(first(Tensor(data)).data().to_vector<float>(), second(Tensor(data)).data().to_vector<float>());
}

TEST_F(QuantizeTest, UnknownNamesAreRefused) {
  nn::Sequential model(nn::Linear(8, 9));
  const Graph graph = traced(model);
  EXPECT_THAT(error_of([&] { prepare(graph, QConfigMapping::static_int8().set_name("fc9", std::nullopt)); }),
              HasSubstr("'fc9'"));
  QConfig config;
  config.observer = "crystal ball";
  EXPECT_THAT(error_of([&] { prepare(graph, QConfigMapping().set_global(config)); }), HasSubstr("crystal ball"));
}

TEST_F(QuantizeTest, ConfigurationsThatNoIntegerLayerHasAreRefused) {
  nn::Sequential model(nn::Linear(8, 9));
  const Graph graph = traced(model);
  auto expect_refused = [&](auto change) {
    QConfig config;
    change(config);
    EXPECT_THAT(error_of([&] { prepare(graph, QConfigMapping().set_global(config)); }),
                HasSubstr("prepare: the configuration of '0'"));
  };
  for (const int bits : {-1, 0, 1, 9, 16}) {
    expect_refused([&](QConfig& c) { c.weight.bits = bits; });
    expect_refused([&](QConfig& c) { c.activation.bits = bits; });
  }
  expect_refused([](QConfig& c) { c.activation.axis = 1; });
  expect_refused([](QConfig& c) { c.weight.is_signed = false; });
  expect_refused([](QConfig& c) { c.weight.scheme = QScheme::affine; });
  expect_refused([](QConfig& c) { c.weight.axis = 1; });
}

// Before anybody calibrates for an hour.
TEST_F(QuantizeTest, PrepareRefusesWeightsThatConvertCouldNotQuantize) {
  nn::Sequential model(nn::Linear(8, 9));
  const Graph graph = traced(model);
  auto expect_refused = [&](auto change, const std::string& why) {
    QConfig config;
    change(config);
    const std::string error = error_of([&] { prepare(graph, QConfigMapping().set_global(config)); });
    EXPECT_THAT(error, HasSubstr("0: "));
    EXPECT_THAT(error, HasSubstr(why));
  };
  expect_refused([](QConfig& c) { c.weight_observer = "crystal ball"; }, "crystal ball");
  expect_refused([](QConfig& c) { c.weight.group_size = -7; }, "groups of -7");
  expect_refused([](QConfig& c) { c.weight.group_size = 4, c.weight.axis = std::nullopt; }, "axis 0");
  expect_refused([](QConfig& c) { c.weight.bits = 2, c.weight.reduce_range = true; }, "reduce_range");
}

TEST_F(QuantizeTest, TheLastMappingCounts) {
  nn::Sequential model(nn::Linear(8, 9), nn::ReLU(), nn::Linear(9, 3));
  const Graph prepared = prepare(traced(model), QConfigMapping::static_int8());
  Graph again = prepare(prepared, QConfigMapping::static_int8().set_name("2", std::nullopt));
  again(random_normal({16, 8}, rng));
  ConversionReport report;
  convert(again, &report);
  EXPECT_EQ(report.front().name, "0");
  EXPECT_FALSE(report.front().kept_float);
  EXPECT_EQ(report.back().name, "2");
  EXPECT_TRUE(report.back().kept_float);
}

TEST_F(QuantizeTest, NodesWhoseObserversAreGoneAreNamed) {
  nn::Sequential model(nn::Linear(8, 9), nn::ReLU(), nn::Linear(9, 3));
  Graph prepared = prepare(traced(model), QConfigMapping::static_int8());
  for (Node* node : prepared.nodes())
    if (prepared.layer_as<Observer>(node)) {
      prepared.replace_uses(node, node->inputs[0]);
      prepared.erase(node);
    }
  EXPECT_THAT(error_of([&] { convert(prepared); }), HasSubstr("'input' is to be quantized, but has no observer"));
}

TEST_F(QuantizeTest, CalibrationIsAsked) {
  nn::Sequential model(nn::Linear(8, 9), nn::ReLU(), nn::Linear(9, 3));
  const Graph graph = traced(model);
  const Graph prepared = prepare(graph, QConfigMapping::static_int8());
  EXPECT_THAT(error_of([&] { convert(prepared); }), HasSubstr("'input.observer' has seen no values"));
  EXPECT_THROW(quantize_model(graph, [](Graph&) {}), ValueError);
}

TEST_F(QuantizeTest, CalibrationDataMustBeFinite) {
  nn::Sequential model(nn::Linear(8, 9), nn::ReLU(), nn::Linear(9, 3));
  const Graph graph = traced(model);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    NDArray x = data.clone();
    x.data<float>()[17] = bad;
    const std::string message = error_of([&] { quantize_model(graph, [&](Graph& prepared) { prepared(Tensor(x)); }); });
    EXPECT_THAT(message, HasSubstr("input.observer"));
    EXPECT_THAT(message, HasSubstr("NaN or infinity"));
  }
}

// Random chains of what the library has, whatever comes out must run, be close and be deterministic.
TEST_F(QuantizeTest, RandomGraphsConvert) {
  for (int trial = 0; trial < 60; ++trial) {
    Graph graph;
    std::vector<Node*> values{graph.add_input("input")};
    for (int i = 0; i < 8; ++i) {
      Node* a = values[rng() % values.size()];
      Node* b = values[rng() % values.size()];
      switch (i == 0 ? 0 : rng() % 6) {
        case 0:
        case 1:
          values.push_back(graph.add_layer(
              "fc", std::make_shared<nn::Linear>(random_normal({8, 8}, rng, 0.4f), random_normal({8}, rng)), {a}));
          break;
        case 2:
          values.push_back(graph.add_op("relu", "relu", {}, {a}));
          break;
        case 3:
          values.push_back(graph.add_op("add", "add", {}, {a, b}));
          break;
        case 4:
          values.push_back(graph.add_op("tanh", "tanh", {}, {a}));
          break;
        default:
          values.push_back(graph.add_op("reshape", "reshape", {{"shape", std::vector<int64_t>{-1, 8}}}, {a}));
      }
    }
    graph.set_output(values.back());
    SCOPED_TRACE(graph.table());
    data = random_normal({6, 8}, rng);
    Converted result = quantized(graph);
    EXPECT_GT(sqnr(graph, result), 20) << result.graph.table();
    const auto got = result.graph(Tensor(data)).data().to_vector<float>();
    on_every_machine([&] { EXPECT_EQ(result.graph(Tensor(data)).data().to_vector<float>(), got); });
  }
}

TEST_F(QuantizeTest, ALayersTypeCountsBeforeAndAfterFusion) {
  nn::Sequential model(nn::Linear(8, 9), nn::ReLU(), nn::Linear(9, 3));
  const Graph graph = traced(model);
  auto mapping = QConfigMapping::static_int8();
  EXPECT_THAT(error_of([&] { prepare(graph, mapping.set_type("Linear", std::nullopt)); }),
              HasSubstr("quantizes no layer"));
  EXPECT_EQ(quantized(graph, mapping.set_type("LinearReLU", QConfig())).count("QuantizedLinear"), 1);
  EXPECT_THAT(error_of([&] { prepare(graph, QConfigMapping().set_type("Liner", QConfig())); }), HasSubstr("'Liner'"));
}

TEST_F(QuantizeTest, AFloatPathBehindAMovingOpStaysExact) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> fc{this, "fc", 8, 8};
    Tensor forward(const Tensor& x) override {
      const Tensor h = flatten(x, 1);
      return fc(h) * 0.0 + h;
    }
  } net;
  const Graph graph = traced(net);
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedLinear"), 1);
  EXPECT_EQ(result.graph(Tensor(data)).data().to_vector<float>(), data.to_vector<float>());
}

TEST_F(QuantizeTest, IntegerLayersAreNotReportedAsFloat) {
  nn::Sequential model(nn::Linear(8, 9), nn::ReLU(), nn::Linear(9, 3));
  const Converted once = quantized(traced(model), QConfigMapping::static_int8().set_name("2", std::nullopt));
  const Converted twice = quantized(once.graph);
  ASSERT_EQ(twice.report.size(), 1u);
  EXPECT_FALSE(twice.layer("2").kept_float);
}

}  // namespace
}  // namespace thimble::quant
