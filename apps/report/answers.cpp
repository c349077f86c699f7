#include "apps/report/answers.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include <nlohmann/json.hpp>

#include <thimble/core/ops/reduce.h>
#include <thimble/core/tensor.h>
#include <thimble/nn/data/dataloader.h>

namespace thimble::apps {

namespace {

// log(sum exp(row)), in double.
double log_sum_exp(const float* row, int64_t classes) {
  const double largest = *std::max_element(row, row + classes);
  if (!std::isfinite(largest)) return largest;
  double sum = 0;
  for (int64_t c = 0; c < classes; ++c) sum += std::exp(double{row[c]} - largest);
  return largest + std::log(sum);
}

// NaN is the worst there is.
double badness(const WrongAnswer& answer) {
  return std::isnan(answer.loss) ? std::numeric_limits<double>::infinity() : answer.loss;
}

bool is_worse(const WrongAnswer& a, const WrongAnswer& b) {
  return badness(a) != badness(b) ? badness(a) > badness(b) : a.index < b.index;
}

class Collector {
 public:
  explicit Collector(size_t most_worst) : most_worst_(most_worst) {}

  void add(const NDArray& scores, const NDArray& labels) {
    check<ShapeError>(scores.ndim() == 2, "report: the model gives ", scores.shape(), ", not logits [n, classes]");
    const int64_t classes = scores.shape(1);
    if (!confusion_) confusion_.emplace(classes);
    const NDArray logits = scores.to(DType::float32).contiguous(), of_label = labels.to(DType::int64).contiguous();
    const NDArray predicted = argmax(logits, 1).contiguous();
    confusion_->add(predicted, of_label);  // which also checks the labels
    for (int64_t i = 0; i < logits.shape(0); ++i)
      add_example(logits.data<float>() + i * classes, classes, of_label.data<int64_t>()[i],
                  predicted.data<int64_t>()[i]);
    keep_worst();
  }

  Answers result() {
    check<ValueError>(confusion_.has_value(), "report: the dataset is empty");
    keep_worst();
    return {total_loss_ / static_cast<double>(examples_), *std::move(confusion_), std::move(worst_)};
  }

 private:
  void add_example(const float* row, int64_t classes, int64_t label, int64_t predicted) {
    const double normalizer = log_sum_exp(row, classes);
    const double loss = normalizer - row[label];
    total_loss_ += loss;
    if (predicted != label)
      worst_.push_back({examples_, label, predicted, std::exp(row[predicted] - normalizer), loss});
    ++examples_;
  }

  void keep_worst() {
    std::ranges::sort(worst_, is_worse);
    if (worst_.size() > most_worst_) worst_.resize(most_worst_);
  }

  size_t most_worst_;
  std::optional<ConfusionMatrix> confusion_;
  std::vector<WrongAnswer> worst_;
  double total_loss_ = 0;
  int64_t examples_ = 0;
};

}  // namespace

Answers answers_of(nn::Graph& graph, const data::Dataset& dataset, int64_t limit, int64_t most_worst) {
  const NoGrad guard;
  Collector collector(static_cast<size_t>(most_worst));
  data::DataLoader loader(dataset, {.batch_size = 256, .limit = limit});
  for (auto& [examples, labels] : loader) collector.add(graph(examples).data(), labels.data());
  return collector.result();
}

nlohmann::json to_json(const Answers& answers) {
  const NDArray counts = answers.confusion.matrix();
  const int64_t classes = counts.shape(0);
  nlohmann::json matrix = nlohmann::json::array();
  for (int64_t i = 0; i < classes; ++i) matrix.push_back(counts.slice(0, i, i + 1).to_vector<int64_t>());
  return {{"loss", answers.loss},  // a number that is not finite is null
          {"count", answers.confusion.count()},
          {"classes", classes},
          {"matrix", std::move(matrix)},
          {"precision", answers.confusion.precision()},
          {"recall", answers.confusion.recall()},
          {"f1", answers.confusion.f1()}};
}

}  // namespace thimble::apps
