#include <cmath>
#include <limits>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/reference.h"
#include <thimble/quant/observers/histogram_observers.h>
#include <thimble/quant/observers/observer.h>

namespace thimble::quant {
namespace {

using testing::HasSubstr;

TEST(MinMaxObserver, HandsItsInputOn) {
  MinMaxObserver observer;
  const Tensor x = NDArray::from_vector<float>({-1, 2, 3});
  const Tensor y = observer(x);
  EXPECT_TRUE(y.data().shares_memory_with(x.data()));
}

TEST(MinMaxObserver, RemembersTheExtremesOfAllItSaw) {
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  for (int trial = 0; trial < 50; ++trial) {
    const QuantizationSpec spec = QuantizationSpec::activation(2 + static_cast<int>(rng() % 7));
    MinMaxObserver observer(spec);
    float min = std::numeric_limits<float>::infinity(), max = -min;
    for (int batch = 0; batch < 5; ++batch) {
      std::vector<float> values(rng() % 20);
      for (float& v : values) {
        v = 10 * normal(rng);
        min = std::min(min, v);
        max = std::max(max, v);
      }
      observer(Tensor(NDArray::from_vector(values)));
    }
    const QParams got = observer.qparams(), expected = choose_qparams(min, max, spec);
    EXPECT_EQ(got.scale, expected.scale);
    EXPECT_EQ(got.zero_point, expected.zero_point);
  }
}

TEST(MinMaxObserver, SaysSoIfItSawNothing) {
  MinMaxObserver observer;
  EXPECT_THROW(observer.qparams(), ValueError);
  observer(Tensor(NDArray(Shape{0, 4})));
  EXPECT_THROW(observer.qparams(), ValueError);
  observer(Tensor(NDArray::zeros({1})));
  EXPECT_EQ(observer.qparams().scale, std::vector<float>{1});
}

TEST(MinMaxObserver, RefusesValuesThatAreNotFinite) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    MinMaxObserver observer;
    observer(Tensor(NDArray::from_vector<float>({0, 1})));
    EXPECT_THROW(observer(Tensor(NDArray::from_vector<float>({0, bad}))), ValueError);
    EXPECT_EQ(observer.qparams().scale, choose_qparams(0, 1).scale) << "what it refused left traces";
  }
}

TEST(MinMaxObserver, TakesStridedInputButNoOtherDtype) {
  MinMaxObserver observer;
  const NDArray x = NDArray::from_vector<float>({1, -5, 2, 9, 3, 4}, {3, 2});
  observer(Tensor(x.slice(1, 0, 1)));
  EXPECT_EQ(observer.qparams().scale, choose_qparams(1, 3).scale);
  EXPECT_THROW(observer(Tensor(NDArray::zeros({2}, DType::uint8))), DTypeError);
}

TEST(MinMaxObserver, CopiesAreIndependent) {
  MinMaxObserver observer;
  observer(Tensor(NDArray::from_vector<float>({-1, 1})));
  const auto copy = nn::copy_layer(observer);
  observer(Tensor(NDArray::from_vector<float>({-100, 100})));
  EXPECT_EQ(dynamic_cast<Observer&>(*copy).qparams().scale, choose_qparams(-1, 1).scale);
}

QuantizationSpec per_channel(int axis) {
  QuantizationSpec spec = QuantizationSpec::per_channel_weight();
  spec.axis = axis;
  return spec;
}

TEST(MinMaxObserver, RemembersTheExtremesOfEachChannel) {
  std::mt19937 rng(2);
  for (const int axis : {0, 1, 2, -1}) {
    const QuantizationSpec spec = per_channel(axis);
    MinMaxObserver observer(spec);
    std::vector<NDArray> batches;
    for (int batch = 0; batch < 3; ++batch) {
      batches.push_back(random_normal({3, 4, 5}, rng));
      observer(Tensor(batches.back()));
    }
    Range all = min_max(batches[0], spec);
    for (const NDArray& batch : batches) {
      const Range range = min_max(batch, spec);
      for (size_t c = 0; c < range.min.size(); ++c) {
        all.min[c] = std::min(all.min[c], range.min[c]);
        all.max[c] = std::max(all.max[c], range.max[c]);
      }
    }
    EXPECT_EQ(observer.qparams().scale, choose_qparams(all.min, all.max, spec).scale);
  }
}

TEST(MinMaxObserver, TheNumberOfChannelsStays) {
  MinMaxObserver observer(per_channel(1)), told(per_channel(1), 4);
  observer(Tensor(NDArray::ones({2, 3})));
  EXPECT_THROW(observer(Tensor(NDArray::ones({2, 4}))), ShapeError);
  EXPECT_THROW(observer(Tensor(NDArray::ones({3}))), ShapeError);
  EXPECT_THROW(told(Tensor(NDArray::ones({2, 3}))), ShapeError);
  told(Tensor(NDArray::ones({2, 4})));
  EXPECT_EQ(told.qparams().scale.size(), 4u);
  EXPECT_THROW(MinMaxObserver(per_channel(0), -1), ValueError);
  EXPECT_THROW(MinMaxObserver(QuantizationSpec(), 3), ValueError);
}

TEST(MinMaxObserver, ManyChannelsFromAFileTakeNoMemory) {
  Attributes a = per_channel(0).to_attributes();
  a.set("channels", int64_t{1} << 50);
  EXPECT_EQ(nn::make_layer("MinMaxObserver", a)->state()[0].second.shape(), Shape({int64_t{1} << 50}));
}

TEST(MovingAverageMinMaxObserver, AveragesTheBatches) {
  MovingAverageMinMaxObserver observer({}, 0.25);
  observer(Tensor(NDArray::from_vector<float>({-1, 2})));
  EXPECT_EQ(observer.qparams().scale, choose_qparams(-1, 2).scale);
  observer(Tensor(NDArray::from_vector<float>({-2, 4})));
  EXPECT_EQ(observer.qparams().scale, choose_qparams(-1.25, 2.5).scale);
  observer(Tensor(NDArray::from_vector<float>({-1.25, 0.5})));
  EXPECT_EQ(observer.qparams().scale, choose_qparams(-1.25, 2).scale);
}

TEST(MovingAverageMinMaxObserver, RefusesAConstantThatIsNoShare) {
  for (const double constant : {0.0, -0.1, 1.1, std::numeric_limits<double>::quiet_NaN()})
    EXPECT_THROW(MovingAverageMinMaxObserver({}, constant), ValueError) << constant;
}

// What is asked of every observer, for each kind of integers.
struct ObservedCase {
  std::string observer;
  QuantizationSpec spec;
};

std::vector<ObservedCase> all_cases() {
  std::vector<ObservedCase> cases;
  for (const std::string& observer : observer_names())
    for (int bits = 2; bits <= 8; ++bits)
      for (const bool is_signed : {false, true})
        for (const QScheme scheme : {QScheme::affine, QScheme::symmetric})
          for (const bool reduce_range : {false, true})
            if (bits > 2 || !reduce_range)
              cases.push_back(
                  {observer, {.bits = bits, .is_signed = is_signed, .scheme = scheme, .reduce_range = reduce_range}});
  return cases;
}

std::string describe(const ObservedCase& c) { return str(c.observer, ' ', c.spec.to_attributes()); }

void expect_usable(const QParams& p) {
  ASSERT_EQ(p.scale.size(), 1u);
  EXPECT_TRUE(std::isnormal(p.scale[0]) && p.scale[0] > 0) << p.scale[0];
  EXPECT_GE(p.zero_point[0], p.spec.qmin());
  EXPECT_LE(p.zero_point[0], p.spec.qmax());
}

void expect_same(const QParams& a, const QParams& b) {
  EXPECT_EQ(a.scale, b.scale);
  EXPECT_EQ(a.zero_point, b.zero_point);
}

TEST(EveryObserver, WithinTheRangeOfWhatItSaw) {
  std::mt19937 rng(3);
  for (const ObservedCase& c : all_cases()) {
    SCOPED_TRACE(describe(c));
    const auto observer = make_observer(c.observer, c.spec);
    const NDArray x = random_normal({50, 10}, rng);
    (*observer)(Tensor(x));
    const QParams p = observer->qparams(), whole = choose_qparams(x, c.spec);
    EXPECT_EQ(p.spec, c.spec);
    expect_usable(p);
    EXPECT_LE(p.scale[0], whole.scale[0] * 1.0001f);
    EXPECT_GT(p.scale[0], whole.scale[0] / 20);
  }
}

TEST(EveryObserver, EqualValuesGetADefinedScale) {
  constexpr float kMax = std::numeric_limits<float>::max(), kTiny = std::numeric_limits<float>::denorm_min();
  for (const ObservedCase& c : all_cases())
    for (const float value : {0.0f, -0.0f, 3.0f, -1e-20f, kTiny, -kTiny, kMax / 2, -kMax / 2}) {
      SCOPED_TRACE(str(describe(c), ' ', value));
      const auto observer = make_observer(c.observer, c.spec);
      (*observer)(Tensor(NDArray::full({4, 5}, double{value})));
      expect_usable(observer->qparams());
      expect_same(observer->qparams(), choose_qparams(value, value, c.spec));
    }
}

TEST(EveryObserver, SurvivesTheLargestValues) {
  constexpr float kMax = std::numeric_limits<float>::max();
  for (const ObservedCase& c : all_cases()) {
    SCOPED_TRACE(describe(c));
    const auto observer = make_observer(c.observer, c.spec);
    (*observer)(Tensor(NDArray::from_vector<float>({-kMax / 2, 1, 0, 1e-30f, 2, kMax / 2}, {2, 3})));
    (*observer)(Tensor(NDArray::from_vector<float>({-kMax, 1, kMax}, {1, 3})));
    (*observer)(Tensor(NDArray::from_vector<float>({kMax, kMax, kMax}, {1, 3})));
    expect_usable(observer->qparams());
  }
}

TEST(EveryObserver, SaysSoIfItSawNothing) {
  for (const std::string& name : observer_names()) {
    const auto observer = make_observer(name, {});
    EXPECT_THROW(observer->qparams(), ValueError) << name;
    (*observer)(Tensor(NDArray(Shape{0, 4})));
    EXPECT_THROW(observer->qparams(), ValueError) << name;
  }
}

TEST(EveryObserver, IsAsBeforeAfterABatchThatIsNotFinite) {
  std::mt19937 rng(4);
  for (const std::string& name : observer_names()) {
    SCOPED_TRACE(name);
    const auto observer = make_observer(name, {});
    (*observer)(Tensor(random_normal({20, 5}, rng)));
    std::vector<NDArray> before;
    for (const auto& [key, tensor] : observer->state()) before.push_back(tensor.data().clone());
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      try {
        (*observer)(Tensor(NDArray::from_vector<float>({100, -100, 3, bad, 1}, {1, 5})));
        ADD_FAILURE() << "took " << bad;
      } catch (const ValueError& e) {
        EXPECT_THAT(e.what(), HasSubstr(observer->type()));
      }
    }
    size_t i = 0;
    for (const auto& [key, tensor] : observer->state())
      EXPECT_EQ(tensor.data().to_vector<double>(), before[i++].to_vector<double>()) << key;
  }
}

TEST(EveryObserver, CopiesContinueIndependently) {
  std::mt19937 rng(5);
  for (const std::string& name : observer_names())
    for (const bool channels : {false, true}) {
      if (channels && name != "minmax" && name != "moving-average") continue;
      SCOPED_TRACE(name);
      const QuantizationSpec spec = channels ? per_channel(1) : QuantizationSpec();
      const auto observer = make_observer(name, spec, {.averaging_constant = 0.3, .percentile = 90});
      const auto copy_before = nn::copy_layer(*observer);
      const NDArray first = random_normal({40, 6}, rng), second = random_normal({40, 6}, rng, 5);
      (*observer)(Tensor(first));
      const auto copy = nn::copy_layer(*observer);
      EXPECT_EQ(copy->attributes(), observer->attributes());
      const auto qparams = [](nn::Module& m) { return dynamic_cast<Observer&>(m).qparams(); };
      const QParams after_first = observer->qparams();
      expect_same(qparams(*copy), after_first);
      (*observer)(Tensor(second));
      expect_same(qparams(*copy), after_first);
      EXPECT_THROW(qparams(*copy_before), ValueError);
      for (nn::Module* other : {copy.get(), copy_before.get()}) {
        if (other == copy_before.get()) (*other)(Tensor(first));
        (*other)(Tensor(second));
        expect_same(qparams(*other), observer->qparams());
      }
    }
}

TEST(EveryObserver, IsNamedInErrorsOfAGraph) {
  struct Net : nn::Module {
    nn::Submodule<EntropyObserver> observer{this, "fc.observer"};
    Tensor forward(const Tensor& x) override { return observer(x); }
  } net;
  try {
    net(Tensor(NDArray::full({2, 2}, std::numeric_limits<double>::quiet_NaN())));
    ADD_FAILURE() << "took NaN";
  } catch (const ValueError& e) {
    EXPECT_THAT(e.what(), HasSubstr("fc.observer: EntropyObserver: "));
  }
}

TEST(Observers, AreMadeByName) {
  EXPECT_EQ(make_observer("minmax", {})->type(), "MinMaxObserver");
  const std::vector<std::string> expected{"minmax",  "moving-average", "percentile", "mse",
                                          "entropy", "cross-entropy",  "histogram"};
  EXPECT_EQ(observer_names(), expected);
  for (const std::string& name : expected) EXPECT_NE(make_observer(name, {}), nullptr);
  EXPECT_DOUBLE_EQ(make_observer("percentile", {}, {.percentile = 99})->attributes().get<double>("percentile"), 99);
  EXPECT_DOUBLE_EQ(make_observer("percentile", {})->attributes().get<double>("percentile"), 99.99);
  EXPECT_DOUBLE_EQ(make_observer("moving-average", {})->attributes().get<double>("averaging_constant"), 0.01);
}

TEST(Observers, UnknownOnesAreAnsweredWithTheKnown) {
  try {
    make_observer("min-max", {});
    ADD_FAILURE() << "there is no such observer";
  } catch (const ValueError& e) {
    for (const std::string& name : observer_names()) EXPECT_THAT(e.what(), HasSubstr(name));
  }
}

TEST(Observers, OfDistributionsArePerTensor) {
  for (const std::string& name : observer_names()) {
    if (name == "minmax" || name == "moving-average")
      EXPECT_NO_THROW(make_observer(name, QuantizationSpec::per_channel_weight()));
    else
      EXPECT_THROW(make_observer(name, QuantizationSpec::per_channel_weight()), ValueError) << name;
  }
}

TEST(Observers, RefuseTooFewIntegers) {
  for (const std::string& name : observer_names()) {
    EXPECT_THROW(make_observer(name, {.bits = 1}), ValueError) << name;
    EXPECT_THROW(make_observer(name, {.bits = 2, .reduce_range = true}), ValueError) << name;
  }
}

}  // namespace
}  // namespace thimble::quant
