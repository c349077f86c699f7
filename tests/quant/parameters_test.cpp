// Whose range a value is quantized with: one that holds all that any of its readers needs.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/conversion.h"
#include <thimble/core/ops.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/analysis/error_report.h>
#include <thimble/quant/passes/fuse.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/qat/qat.h>

namespace thimble::quant {
namespace {

using testing::HasSubstr;

using Other = Tensor (*)(nn::Module& big, const Tensor& h);

Tensor image(const Tensor& rows) { return reshape(rows, {rows.shape(0), rows.shape(1), 1, 1}); }

// s(h) + b(what `other` makes of h), where b is so small that h must come through as it is; big(h) is 1000 h.
class Forked : public nn::Module {
 public:
  Forked(Other other, int64_t features)
      : b{this, "b", Tensor(NDArray::full({1, features}, 1e-8)), Tensor()}, other_(other) {}
  Tensor forward(const Tensor& x) override {
    const Tensor h = a(x);
    return s(h) + b(other_(*big, h));
  }

 private:
  static Tensor weight(double value) { return NDArray::full({1, 1}, value); }

  nn::Submodule<nn::Linear> a{this, "a", weight(1), Tensor()}, s{this, "s", weight(1), Tensor()},
      big{this, "big", weight(1000), Tensor()}, b;
  Other other_;
};

struct ParametersCase {
  const char* name;
  Other other;
  int64_t features;
};
const ParametersCase kCases[] = {
    {"relu",
     [](nn::Module&, const Tensor& h) {
       return relu(concat({h, h}, 1));
     },
     2},
    {"relu6",
     [](nn::Module& big, const Tensor& h) {
       return relu6(concat({h, big(h)}, 1));
     },
     2},
    {"clamp",
     [](nn::Module&, const Tensor& h) {
       return clamp(concat({h, h}, 1), -0.125, 0.25);
     },
     2},
    {"nested",
     [](nn::Module&, const Tensor& h) {
       return relu(concat({concat({h, h}, 1), h}, 1));
     },
     3},
    {"twice",
     [](nn::Module&, const Tensor& h) {
       return clamp(concat({relu(concat({h, h}, 1)), h}, 1), 0, 0.25);
     },
     3},
    {"flatten",
     [](nn::Module&, const Tensor& h) {
       return relu(flatten(concat({image(h), image(h)}, 1), 1));
     },
     2},
    {"upsampled",
     [](nn::Module&, const Tensor& h) { return relu(flatten(upsample_nearest2d(concat({image(h)}, 1), 2), 1)); }, 4},
    {"pool",
     [](nn::Module&, const Tensor& h) {
       return flatten(relu(max_pool2d(concat({image(h), image(h)}, 1), 1)), 1);
     },
     2},
    {"mean",
     [](nn::Module&, const Tensor& h) {
       return flatten(global_avg_pool2d(relu(concat({image(h), image(h)}, 1))), 1);
     },
     2},
    {"of a wider range",
     [](nn::Module& big, const Tensor& h) {
       return concat({h, big(h)}, 1);
     },
     2},
};

class Parameters : public QuantizeTest {
 protected:
  void SetUp() override { data = NDArray::from_vector<float>({-1, -.5, .5, 1}, {4, 1}); }

  static QConfig bits(int activation, const std::string& observer = "minmax") {
    QConfig config;
    config.activation.bits = activation;
    config.observer = observer;
    return config;
  }
};

TEST_F(Parameters, OfAValueHoldWhatEachOfItsReadersNeeds) {
  const std::vector<float> right = data.to_vector<float>();
  for (const ParametersCase& c : kCases) {
    SCOPED_TRACE(c.name);
    Forked net(c.other, c.features);
    const NoGrad guard;
    Converted result = quantized(nn::trace(net.eval(), Tensor(data)));
    constexpr float kStep = 2.0f / 255;  // half of it for x and for h
    EXPECT_THAT(result.graph(Tensor(data)).data().to_vector<float>(),
                testing::Pointwise(testing::FloatNear(kStep * 1.01f), right))
        << result.graph.table();
  }
}

TEST_F(Parameters, OfATrainedValueAreThoseOfTraining) {
  for (const ParametersCase& c : kCases)
    for (const bool learned : {false, true}) {
      SCOPED_TRACE(c.name);
      Forked net(c.other, c.features);
      data = NDArray::from_vector<float>({-.9f, -.43f, .51f, 1.3f}, {4, 1});  // nowhere between two integers
      Graph prepared = prepare_qat(nn::trace(net.eval(), Tensor(data)), QConfigMapping::static_int8(),
                                   {.learned_step_size = learned});
      for (int i = 0; i < 3; ++i) prepared(Tensor(data));
      disable_observer(prepared);
      prepared.eval();
      Graph integers = convert(prepared);
      EXPECT_THAT(integers(Tensor(data)).data().to_vector<float>(),
                  testing::Pointwise(testing::FloatNear(1e-5f), prepared(Tensor(data)).data().to_vector<float>()))
          << integers.table();
    }
}

// What is cut off behind a concatenation is no error of what it joins.
TEST_F(Parameters, OfWhatOnlyAClampReadsAreNoError) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> a{this, "a", 8, 4}, b{this, "b", 8, 4}, c{this, "c", 8, 3};
    Tensor forward(const Tensor& x) override { return c(relu(concat({a(x), b(x)}, 1))); }
  } net;
  const Graph fused = fuse_conv_bn_relu(traced(net, {64, 8}));
  const Converted result = quantized(fused);
  EXPECT_EQ(result.count("Requantize") + result.count("QuantizedClamp"), 0) << result.graph.table();
  for (const TensorError& error : quantization_error(fused, result.graph, std::vector<Tensor>{Tensor(data)}))
    EXPECT_GT(error.sqnr_db, 25) << error.name;
}

// The usual recipe: first and last layer of 8 bits around others of 4.
struct ResidualNet : nn::Module {
  nn::Submodule<nn::Linear> first{this, "first", 8, 8}, second{this, "second", 8, 8}, last{this, "last", 8, 3};
  Tensor forward(const Tensor& x) override {
    const Tensor h = relu(first(x));
    return last(relu(second(h) + h));
  }
};

TEST_F(Parameters, OfAResidualAreOfTheBitsOfTheLayerThatReadsIt) {
  ResidualNet net;
  const Graph graph = traced(net, {64, 8});
  const auto mapping = QConfigMapping::static_int4().set_name("first", QConfig()).set_name("last", QConfig());
  Converted result = quantized(graph, mapping);
  EXPECT_EQ(result.layer("first").activation_bits, 8);
  EXPECT_EQ(result.layer("second").activation_bits, 4);
  EXPECT_EQ(result.layer("add").activation_bits, 4);
  EXPECT_EQ(result.layer("last").activation_bits, 8);
  EXPECT_EQ(result.count("Requantize") + result.count("Dequantize"), 0) << result.graph.table();
  Converted four = quantized(graph, QConfigMapping::static_int4());
  EXPECT_GT(sqnr(graph, result), sqnr(graph, four));
  expect_integers(result.graph);
  expect_deterministic(result.graph);
}

struct TwoReaders : nn::Module {
  nn::Submodule<nn::Linear> first{this, "first", 8, 8}, a{this, "a", 8, 4}, b{this, "b", 8, 4}, c{this, "c", 8, 4};
  Tensor forward(const Tensor& x) override {
    const Tensor h = reshape(relu(first(x)), {-1, 8});
    const Tensor of_a = a(h), of_b = b(h), of_c = c(h);  // called in this order, whatever the compiler
    return of_a + of_b + of_c;
  }
};

// Each reader gets integers of the bits that it asks for; those of few bits are made of those of many.
TEST_F(Parameters, OfAValueThatIsReadWithDifferentBitsAreSeveral) {
  TwoReaders net;
  const Graph graph = traced(net, {64, 8});
  auto mapping = QConfigMapping::static_int8().set_name("b", QConfig::of_bits(8, 4));
  for (const int bits : {3, 4}) {
    mapping.set_name("c", QConfig::of_bits(8, bits));
    Converted result = quantized(graph, mapping);
    EXPECT_EQ(result.layer("a").activation_bits, 8);
    EXPECT_EQ(result.layer("b").activation_bits, 4);
    EXPECT_EQ(result.layer("c").activation_bits, bits);
    EXPECT_EQ(result.count("Requantize"), bits == 4 ? 1 : 2) << result.graph.table();
    EXPECT_EQ(result.count("Quantize"), 1);
    EXPECT_EQ(result.count("MSEObserver") + result.count("MinMaxObserver"), 0);
    EXPECT_GT(sqnr(graph, result), 10);
    expect_integers(result.graph);
    expect_deterministic(result.graph);
  }
}

TEST_F(Parameters, OfAFloatValueThatIsReadWithDifferentBitsAreThoseOfEachReader) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> a{this, "a", 8, 4}, b{this, "b", 8, 4};
    Tensor forward(const Tensor& x) override { return a(x) + b(x); }
  } net;
  const Graph graph = traced(net);
  Converted result = quantized(graph, QConfigMapping::static_int8().set_name("b", bits(4)));
  EXPECT_EQ(result.layer("a").activation_bits, 8);
  EXPECT_EQ(result.layer("b").activation_bits, 4);
  EXPECT_EQ(result.count("Quantize"), 2) << result.graph.table();
  expect_integers(result.graph);
  EXPECT_EQ(quantized(graph, QConfigMapping().set_global(bits(4))).count("Quantize"), 1);
}

TEST_F(Parameters, OfATrainedValueMayBeSeveral) {
  TwoReaders net;
  const Graph graph = traced(net, {64, 8});
  Graph prepared = prepare_qat(graph, QConfigMapping::static_int8().set_name("b", QConfig::of_bits(8, 4)));
  for (int i = 0; i < 3; ++i) prepared(Tensor(data));
  disable_observer(prepared);
  prepared.eval();
  Graph integers = convert(prepared);
  const auto expected = prepared(Tensor(data)).data().to_vector<float>(),
             got = integers(Tensor(data)).data().to_vector<float>();
  int different = 0;  // a sum in float32 may be rounded to the other one of two integers
  for (size_t i = 0; i < got.size(); ++i) different += std::abs(got[i] - expected[i]) > 1e-4f * (1 + std::abs(got[i]));
  EXPECT_LE(different, 4);
}

// Which did not mark pools.
TEST_F(Parameters, OfPoolsInGraphsThatEarlierVersionsPreparedAreTheirInputs) {
  struct Net : nn::Module {
    nn::Submodule<nn::Conv2d> a{this, "a", 2, 4, 3}, b{this, "b", 4, 3, 1};
    nn::Submodule<nn::Linear> fc{this, "fc", 3, 2};
    Tensor forward(const Tensor& x) override { return fc(flatten(global_avg_pool2d(b(max_pool2d(a(x), 2))), 1)); }
  } net;
  const Graph graph = fuse_conv_bn_relu(traced(net, {4, 2, 8, 8}));
  Graph prepared = prepare(graph, QConfigMapping::static_int8());
  prepared(Tensor(data));
  Graph unmarked = prepared.clone();
  for (Node* node : unmarked.nodes())
    if (node->kind == Node::Kind::op) node->attributes = without_marks(node->attributes);
  EXPECT_EQ(convert(unmarked).table(), convert(prepared).table());
  EXPECT_EQ(convert(prepared).table().find("Dequantize"), std::string::npos);
}

// Neither range need hold the other.
TEST_F(Parameters, ThatCannotBeMadeOfEachOtherAreRefused) {
  TwoReaders net;
  const Graph graph = traced(net);
  QConfig symmetric = bits(8);
  symmetric.activation.scheme = QScheme::symmetric;
  for (const QConfig& other : {bits(8, "entropy"), bits(4, "percentile"), symmetric}) {
    const auto mapping = QConfigMapping().set_global(bits(8, "mse")).set_name("b", other);
    const std::string error = error_of([&] { prepare(graph, mapping); });
    EXPECT_THAT(error, HasSubstr("'c' and 'b' read the same value"));
    EXPECT_THAT(error, HasSubstr("set_name()"));
  }
  // All is in the smallest and largest value's range.
  Converted result = quantized(graph, QConfigMapping::static_int8().set_name("b", bits(8, "entropy")));
  EXPECT_GT(sqnr(graph, result), 20);
  expect_integers(result.graph);
}

}  // namespace
}  // namespace thimble::quant
