#include <algorithm>
#include <cmath>
#include <numeric>
#include <string_view>

#include <thimble/core/ops/reduce.h>
#include <thimble/nn/training/metrics.h>

namespace thimble {

namespace {

std::vector<int64_t> checked_labels(std::string_view metric, const NDArray& labels, int64_t n, int64_t classes) {
  check<ShapeError>(labels.shape() == Shape{n}, metric, ": expects labels [", n, "], got ", labels.shape());
  const DType dtype = labels.dtype();
  check<DTypeError>(dtype == DType::int64 || dtype == DType::int32 || dtype == DType::uint8, metric,
                    ": labels must be int64, int32 or uint8, got ", dtype);
  std::vector<int64_t> values = labels.to_vector<int64_t>();
  for (size_t i = 0; i < values.size(); ++i)
    check<ValueError>(values[i] >= 0 && values[i] < classes, metric, ": label ", i, " is class ", values[i],
                      ", but there are ", classes, " classes");
  return values;
}

void check_scores(std::string_view metric, const NDArray& scores) {
  check<ShapeError>(scores.ndim() == 2, metric, ": expects scores [n, classes], got ", scores.shape());
  check<DTypeError>(is_differentiable(scores.dtype()), metric, ": scores must be float32 or float64, got ",
                    scores.dtype());
}

double share(std::string_view metric, double part, int64_t of) {
  check<ValueError>(of > 0, metric, ": nothing was added");
  return part / static_cast<double>(of);
}

double ratio_or_zero(double part, double of) { return of > 0 ? part / of : 0; }

// Sum of f(answer - target).
template <typename F>
double sum_of_differences(std::string_view metric, const NDArray& answers, const NDArray& targets, F&& f) {
  check<ShapeError>(answers.shape() == targets.shape(), metric, ": answers ", answers.shape(), " and targets ",
                    targets.shape(), " differ");
  for (const NDArray& array : {answers, targets})
    check<DTypeError>(is_differentiable(array.dtype()), metric, ": expects float32 or float64, got ", array.dtype());
  const auto a = answers.to_vector<double>(), t = targets.to_vector<double>();
  double total = 0;
  for (size_t i = 0; i < a.size(); ++i) total += f(a[i] - t[i]);
  return total;
}

}  // namespace

TopKAccuracy::TopKAccuracy(int64_t k) : k_(k) {
  check<ValueError>(k >= 1, "TopKAccuracy: k ", k, " must be at least 1");
}

void TopKAccuracy::add(const NDArray& scores, const NDArray& labels) {
  check_scores("TopKAccuracy", scores);
  const int64_t n = scores.shape(0), classes = scores.shape(1);
  const std::vector<int64_t> wanted = checked_labels("TopKAccuracy", labels, n, classes);
  const std::vector<double> values = scores.to_vector<double>();
  for (int64_t i = 0; i < n; ++i) {
    const double* row = values.data() + i * classes;
    const int64_t label = wanted[static_cast<size_t>(i)];
    const auto comes_before = [&](int64_t c) {
      const bool is_nan = std::isnan(row[c]), label_is_nan = std::isnan(row[label]);
      if (is_nan != label_is_nan) return is_nan;
      return row[c] > row[label] || (c < label && !(row[c] < row[label]));
    };
    int64_t before = 0;
    for (int64_t c = 0; c < classes; ++c) before += comes_before(c);
    correct_ += before < k_;
  }
  count_ += n;
}

double TopKAccuracy::value() const { return share("TopKAccuracy", static_cast<double>(correct_), count_); }

ConfusionMatrix::ConfusionMatrix(int64_t classes) : classes_(classes) {
  constexpr int64_t kMostClasses = int64_t{1} << 16;
  check<ValueError>(classes >= 1 && classes <= kMostClasses, "ConfusionMatrix: classes ", classes, " is not in [1, ",
                    kMostClasses, "]");
  counts_.resize(static_cast<size_t>(classes * classes));
}

void ConfusionMatrix::reset() { std::ranges::fill(counts_, 0); }

void ConfusionMatrix::add(const NDArray& answers, const NDArray& labels) {
  constexpr std::string_view kMetric = "ConfusionMatrix";
  NDArray predicted = answers;
  if (answers.ndim() != 1) {
    check_scores(kMetric, answers);
    check<ShapeError>(answers.shape(1) == classes_, kMetric, ": expects scores of ", classes_, " classes, got ",
                      answers.shape());
    predicted = argmax(answers, 1);
  }
  const int64_t n = predicted.numel();
  const std::vector<int64_t> actual = checked_labels(kMetric, labels, n, classes_),
                             found = checked_labels(kMetric, predicted, n, classes_);
  for (size_t i = 0; i < actual.size(); ++i) ++counts_[static_cast<size_t>(actual[i] * classes_ + found[i])];
}

NDArray ConfusionMatrix::matrix() const { return NDArray::from_vector(counts_, {classes_, classes_}); }

int64_t ConfusionMatrix::count() const { return std::accumulate(counts_.begin(), counts_.end(), int64_t{0}); }

ConfusionMatrix::Counts ConfusionMatrix::counts_of(int64_t c) const {
  const auto at = [&](int64_t row, int64_t column) { return counts_[static_cast<size_t>(row * classes_ + column)]; };
  Counts counts{at(c, c), 0, 0};
  for (int64_t other = 0; other < classes_; ++other) {
    counts.predicted += at(other, c);
    counts.actual += at(c, other);
  }
  return counts;
}

double ConfusionMatrix::accuracy() const {
  double right = 0;
  for (int64_t c = 0; c < classes_; ++c) right += static_cast<double>(counts_of(c).right);
  return share("ConfusionMatrix", right, count());
}

std::vector<double> ConfusionMatrix::precision() const {
  std::vector<double> values;
  for (int64_t c = 0; c < classes_; ++c) {
    const Counts counts = counts_of(c);
    values.push_back(ratio_or_zero(static_cast<double>(counts.right), static_cast<double>(counts.predicted)));
  }
  return values;
}

std::vector<double> ConfusionMatrix::recall() const {
  std::vector<double> values;
  for (int64_t c = 0; c < classes_; ++c) {
    const Counts counts = counts_of(c);
    values.push_back(ratio_or_zero(static_cast<double>(counts.right), static_cast<double>(counts.actual)));
  }
  return values;
}

std::vector<double> ConfusionMatrix::f1() const {
  std::vector<double> values;
  for (int64_t c = 0; c < classes_; ++c) {
    const Counts counts = counts_of(c);
    values.push_back(
        ratio_or_zero(2 * static_cast<double>(counts.right), static_cast<double>(counts.predicted + counts.actual)));
  }
  return values;
}

// With one label for each example, micro averages of all three are the accuracy.
double ConfusionMatrix::averaged(const std::vector<double>& values, Average average) const {
  if (average == Average::micro) return accuracy();
  double total = 0;
  for (int64_t c = 0; c < classes_; ++c) {
    const double weight = average == Average::macro ? 1 : static_cast<double>(counts_of(c).actual);
    total += weight * values[static_cast<size_t>(c)];
  }
  const int64_t examples = count();
  check<ValueError>(examples > 0, "ConfusionMatrix: nothing was added");
  return total / static_cast<double>(average == Average::macro ? classes_ : examples);
}

double ConfusionMatrix::precision(Average average) const { return averaged(precision(), average); }
double ConfusionMatrix::recall(Average average) const { return averaged(recall(), average); }
double ConfusionMatrix::f1(Average average) const { return averaged(f1(), average); }

void MeanAbsoluteError::add(const NDArray& answers, const NDArray& targets) {
  total_ += sum_of_differences("MeanAbsoluteError", answers, targets, [](double d) { return std::abs(d); });
  count_ += answers.numel();
}

double MeanAbsoluteError::value() const { return share("MeanAbsoluteError", total_, count_); }

void MeanSquaredError::add(const NDArray& answers, const NDArray& targets) {
  total_ += sum_of_differences("MeanSquaredError", answers, targets, [](double d) { return d * d; });
  count_ += answers.numel();
}

double MeanSquaredError::value() const { return share("MeanSquaredError", total_, count_); }

void BinaryAccuracy::add(const NDArray& scores, const NDArray& targets) {
  constexpr std::string_view kMetric = "BinaryAccuracy";
  check<ShapeError>(scores.ndim() == 1 || scores.ndim() == 2, kMetric, ": expects scores [n] or [n, labels], got ",
                    scores.shape());
  check<ShapeError>(scores.shape() == targets.shape(), kMetric, ": scores ", scores.shape(), " and targets ",
                    targets.shape(), " differ");
  check<DTypeError>(is_differentiable(scores.dtype()), kMetric, ": scores must be float32 or float64, got ",
                    scores.dtype());
  const auto s = scores.to_vector<double>(), t = targets.to_vector<double>();
  for (size_t i = 0; i < t.size(); ++i)
    check<ValueError>(t[i] == 0 || t[i] == 1, kMetric, ": target ", i, " is ", t[i], ", expected 0 or 1");
  const int64_t n = scores.shape(0);
  const size_t labels = n == 0 ? 0 : s.size() / static_cast<size_t>(n);
  for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
    int64_t right = 0;
    for (size_t j = i * labels; j < (i + 1) * labels; ++j) right += (s[j] > threshold_) == (t[j] == 1);
    correct_ += right;
    exact_ += right == static_cast<int64_t>(labels);
  }
  answers_ += scores.numel();
  examples_ += n;
}

double BinaryAccuracy::value() const { return share("BinaryAccuracy", static_cast<double>(correct_), answers_); }
double BinaryAccuracy::exact_match() const { return share("BinaryAccuracy", static_cast<double>(exact_), examples_); }

}  // namespace thimble
