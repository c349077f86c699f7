#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/core/random.h>
#include <thimble/nn/training/evaluate.h>
#include <thimble/nn/training/metrics.h>

namespace thimble {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

NDArray labels_of(const std::vector<int64_t>& labels) { return NDArray::from_vector(labels); }

TEST(TopKAccuracy, CountsLabelsAmongTheLargest) {
  const NDArray scores = NDArray::from_vector<float>({0.1f, 0.7f, 0.2f,  //
                                                      0.5f, 0.3f, 0.4f,  //
                                                      0.2f, 0.2f, 0.2f},
                                                     {3, 3});
  const NDArray labels = labels_of({2, 1, 1});
  for (const auto& [k, expected] : std::vector<std::pair<int64_t, double>>{{1, 0}, {2, 2 / 3.0}, {3, 1}, {9, 1}}) {
    TopKAccuracy metric(k);
    metric.add(scores.slice(0, 0, 1), labels.slice(0, 0, 1));
    metric.add(scores.slice(0, 1, 3), labels.slice(0, 1, 3));
    EXPECT_DOUBLE_EQ(metric.value(), expected) << k;
    EXPECT_EQ(metric.count(), 3);
    metric.reset();
    EXPECT_THROW(metric.value(), ValueError);
  }
}

TEST(TopKAccuracy, OfOneIsWhatCountCorrectSays) {
  Generator generator(1);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  NDArray scores = randn({200, 4}, generator), labels({200}, DType::int64);
  for (int64_t i = 0; i < 200; ++i) {
    labels.data<int64_t>()[i] = static_cast<int64_t>(generator.below(4));
    if (i % 3 == 0) scores.data<float>()[4 * i + 1] = scores.data<float>()[4 * i + 2];  // ties
    if (i % 7 == 0) scores.data<float>()[4 * i + i % 4] = nan;
    if (i % 14 == 0) scores.data<float>()[4 * i + 3] = nan;
  }
  TopKAccuracy metric;
  metric.add(scores, labels);
  EXPECT_DOUBLE_EQ(metric.value(), static_cast<double>(count_correct(scores, labels)) / 200);
}

// scikit-learn's numbers for these: precision 2/3, 1, 0; recall 2/3, 1/2, 0; F1 2/3, 2/3, 0.
TEST(ConfusionMatrix, GivesPrecisionRecallAndF1) {
  ConfusionMatrix metric(4);
  metric.add(labels_of({0, 0, 1}), labels_of({0, 0, 1}));
  metric.add(labels_of({0, 2, 3}).to(DType::int32), labels_of({1, 0, 2}).to(DType::uint8));
  EXPECT_EQ(metric.matrix().to_vector<int64_t>(), (std::vector<int64_t>{2, 0, 1, 0,  //
                                                                        1, 1, 0, 0,  //
                                                                        0, 0, 0, 1,  //
                                                                        0, 0, 0, 0}));
  EXPECT_EQ(metric.count(), 6);
  EXPECT_DOUBLE_EQ(metric.accuracy(), 0.5);
  EXPECT_THAT(metric.precision(), ElementsAre(2 / 3.0, 1, 0, 0));
  EXPECT_THAT(metric.recall(), ElementsAre(2 / 3.0, 0.5, 0, 0));
  EXPECT_THAT(metric.f1(), ElementsAre(2 / 3.0, 2 / 3.0, 0, 0));
  EXPECT_DOUBLE_EQ(metric.precision(Average::macro), (2 / 3.0 + 1) / 4);
  EXPECT_DOUBLE_EQ(metric.recall(Average::macro), (2 / 3.0 + 0.5) / 4);
  EXPECT_DOUBLE_EQ(metric.f1(Average::macro), (4 / 3.0) / 4);
  for (double micro : {metric.precision(Average::micro), metric.recall(Average::micro), metric.f1(Average::micro)})
    EXPECT_DOUBLE_EQ(micro, 0.5);
  EXPECT_DOUBLE_EQ(metric.precision(Average::weighted), (3 * (2 / 3.0) + 2 * 1) / 6);
  EXPECT_DOUBLE_EQ(metric.recall(Average::weighted), 0.5);
  EXPECT_DOUBLE_EQ(metric.f1(Average::weighted), (3 * (2 / 3.0) + 2 * (2 / 3.0)) / 6);
  metric.reset();
  EXPECT_EQ(metric.count(), 0);
  EXPECT_THROW(metric.accuracy(), ValueError);
  EXPECT_THROW(metric.f1(Average::macro), ValueError);
  EXPECT_THROW(metric.f1(Average::micro), ValueError);
}

TEST(ConfusionMatrix, TakesScores) {
  ConfusionMatrix metric(3);
  metric.add(NDArray::from_vector<double>({1, 3, 2, 5, 4, 4}, {2, 3}), labels_of({1, 2}));
  EXPECT_EQ(metric.matrix().to_vector<int64_t>(), (std::vector<int64_t>{0, 0, 0, 0, 1, 0, 1, 0, 0}));
}

TEST(Errors, AreMeansOverAllBatches) {
  MeanAbsoluteError absolute;
  MeanSquaredError squared;
  const NDArray a = NDArray::from_vector<float>({1, 2, 3}), b = NDArray::from_vector<float>({2, 0, 3});
  const NDArray c = NDArray::full({1, 1}, 4), d = NDArray::full({1, 1}, 1);
  absolute.add(a, b);
  absolute.add(c, d);
  squared.add(a, b);
  squared.add(c, d);
  EXPECT_DOUBLE_EQ(absolute.value(), 1.5);
  EXPECT_DOUBLE_EQ(squared.value(), (1 + 4 + 9) / 4.0);
  EXPECT_EQ(squared.count(), 4);
  absolute.reset();
  EXPECT_THAT([&] { absolute.value(); }, ThrowsMessage<ValueError>("MeanAbsoluteError: nothing was added"));
  EXPECT_THROW(squared.add(a, c), ShapeError);
  EXPECT_THROW(squared.add(labels_of({1}), labels_of({1})), DTypeError);
  EXPECT_EQ(squared.count(), 4);
}

TEST(BinaryAccuracy, IsOfAnswersAndOfWholeExamples) {
  BinaryAccuracy probabilities, logits(0);
  const NDArray scores = NDArray::from_vector<float>({0.9f, 0.2f, 0.6f, 0.5f}, {2, 2});
  const NDArray targets = NDArray::from_vector<float>({1, 0, 0, 0}, {2, 2});
  probabilities.add(scores, targets);
  EXPECT_DOUBLE_EQ(probabilities.value(), 0.75);
  EXPECT_DOUBLE_EQ(probabilities.exact_match(), 0.5);
  EXPECT_EQ(probabilities.count(), 2);
  logits.add(scores, targets.to(DType::uint8));
  EXPECT_DOUBLE_EQ(logits.value(), 0.25);
  EXPECT_DOUBLE_EQ(logits.exact_match(), 0);
  BinaryAccuracy one;
  one.add(NDArray::from_vector<float>({0.9f, 0.1f}), labels_of({1, 1}));
  EXPECT_DOUBLE_EQ(one.value(), 0.5);
  EXPECT_DOUBLE_EQ(one.exact_match(), 0.5);
  EXPECT_THAT([&] { one.add(NDArray::ones({1}), labels_of({2})); },
              ThrowsMessage<ValueError>(HasSubstr("target 0 is 2")));
  EXPECT_THROW(one.add(NDArray::ones({2}), labels_of({1})), ShapeError);
  EXPECT_EQ(one.count(), 2);
}

TEST(Metrics, RefuseWhatDoesNotFitAndChangeNothing) {
  ConfusionMatrix metric(3);
  EXPECT_THAT(
      [&] {
        metric.add(labels_of({0, 3}), labels_of({0, 1}));
      },
      ThrowsMessage<ValueError>("ConfusionMatrix: label 1 is class 3, but there are 3 classes"));
  EXPECT_THROW(metric.add(labels_of({0, 1}), labels_of({0, -1})), ValueError);
  EXPECT_THROW(metric.add(labels_of({0, 1}), labels_of({0})), ShapeError);
  EXPECT_THROW(metric.add(NDArray::ones({1, 4}), labels_of({0})), ShapeError);
  EXPECT_THROW(metric.add(NDArray::ones({1, 3}), NDArray::ones({1})), DTypeError);
  EXPECT_EQ(metric.count(), 0);
  TopKAccuracy top(2);
  EXPECT_THROW(top.add(NDArray::ones({2, 3}), labels_of({0, 3})), ValueError);
  EXPECT_THROW(top.add(NDArray::ones({3}), labels_of({0})), ShapeError);
  EXPECT_EQ(top.count(), 0);
  EXPECT_THROW(TopKAccuracy(0), ValueError);
  EXPECT_THROW(ConfusionMatrix(0), ValueError);
}

}  // namespace
}  // namespace thimble
