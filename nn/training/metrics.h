// What a model's answers are worth, added up over batches.
//
//   TopKAccuracy top5(5);
//   ConfusionMatrix confusion(10);
//   for (auto& [images, labels] : loader) {
//     const Tensor logits = net(images);
//     top5.add(logits.data(), labels.data());
//     confusion.add(logits.data(), labels.data());
//   }
//   std::cout << top5.value() << ' ' << confusion.f1(Average::macro);
//
// Answers and targets are float32 or float64, labels int64, int32 or uint8; logits may be any scores. add() throws
// ShapeError or DTypeError for arrays that do not fit, ValueError for a label out of range, and changes nothing then.
// What asks for a value before anything was added throws ValueError.
#pragma once

#include <cstdint>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/ndarray.h>

namespace thimble {

/// How often the label is among the k largest scores. Of equal scores the first counts as larger, and NaN as largest.
class THIMBLE_API TopKAccuracy {
 public:
  /// Throws ValueError for k below 1. A k above the number of classes is always right.
  explicit TopKAccuracy(int64_t k = 1);
  /// scores [n, classes], labels [n].
  void add(const NDArray& scores, const NDArray& labels);
  /// 0 to 1.
  double value() const;
  int64_t count() const { return count_; }
  void reset() { correct_ = count_ = 0; }

 private:
  int64_t k_, correct_ = 0, count_ = 0;
};

/// What becomes of one number for each class.
enum class Average {
  macro,     ///< the mean over classes, all alike
  micro,     ///< of all examples together: where each has one label, the accuracy
  weighted,  ///< the mean over classes, each as often as it occurs
};

/// How often each class was taken for each other, and what follows from it: accuracy, precision, recall, F1. What is
/// divided by nothing (the precision of a class that was never predicted) is 0, as in scikit-learn.
class THIMBLE_API ConfusionMatrix {
 public:
  /// Throws ValueError for fewer than one class.
  explicit ConfusionMatrix(int64_t classes);
  /// answers [n, classes], of which the largest counts (see argmax()), or [n] of predicted labels; labels [n].
  void add(const NDArray& answers, const NDArray& labels);
  void reset();

  /// int64 [classes, classes]: row i, column j is how often an example of class i was taken for j.
  NDArray matrix() const;
  int64_t count() const;
  double accuracy() const;

  /// Of each class: how many of those that were taken for it are of it, how many of it were found, and the harmonic
  /// mean of both.
  std::vector<double> precision() const;
  std::vector<double> recall() const;
  std::vector<double> f1() const;
  double precision(Average average) const;
  double recall(Average average) const;
  double f1(Average average) const;

 private:
  struct Counts {
    int64_t right, predicted, actual;
  };
  Counts counts_of(int64_t c) const;
  double averaged(const std::vector<double>& values, Average average) const;

  int64_t classes_;
  std::vector<int64_t> counts_;
};

/// The mean of |answer - target| over all elements.
class THIMBLE_API MeanAbsoluteError {
 public:
  /// Both of one shape.
  void add(const NDArray& answers, const NDArray& targets);
  double value() const;
  int64_t count() const { return count_; }
  void reset() { *this = {}; }

 private:
  double total_ = 0;
  int64_t count_ = 0;
};

/// The mean of (answer - target)^2 over all elements.
class THIMBLE_API MeanSquaredError {
 public:
  /// Both of one shape.
  void add(const NDArray& answers, const NDArray& targets);
  double value() const;
  int64_t count() const { return count_; }
  void reset() { *this = {}; }

 private:
  double total_ = 0;
  int64_t count_ = 0;
};

/// How many yes-or-no answers are right, of one or of several labels for each example. A score above the threshold is a
/// yes: 0.5 is for probabilities, 0 for logits. The target's yes is 1, its no 0, of any dtype.
class THIMBLE_API BinaryAccuracy {
 public:
  explicit BinaryAccuracy(double threshold = 0.5) : threshold_(threshold) {}
  /// scores [n] or [n, labels], targets of the same shape. Throws ValueError for a target other than 0 and 1.
  void add(const NDArray& scores, const NDArray& targets);
  /// The share of answers that are right.
  double value() const;
  /// The share of examples all of whose answers are right.
  double exact_match() const;
  int64_t count() const { return examples_; }
  void reset() { correct_ = answers_ = exact_ = examples_ = 0; }

 private:
  double threshold_;
  int64_t correct_ = 0, answers_ = 0, exact_ = 0, examples_ = 0;
};

}  // namespace thimble
