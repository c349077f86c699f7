#include <algorithm>

#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/nn/training/evaluate.h>
#include <thimble/nn/training/objective.h>

namespace thimble {

namespace {

// [n], or of more targets an example [n, d1, ...].
NDArray classes_of(const Tensor& logits, const Tensor& target) {
  return target.shape() == logits.shape() ? argmax(target.data(), 1) : target.data();
}

int64_t targets_that_count(const NDArray& labels, int64_t ignore_index) {
  return std::ranges::count_if(labels.to_vector<int64_t>(), [=](int64_t label) { return label != ignore_index; });
}

}  // namespace

Tensor reported_loss(const Objective& objective, nn::Module& model, const data::Batch& batch, Means& means) {
  if (means.all().empty()) means.add("loss", 0, 0);
  const int64_t before = means.times("loss");
  const Tensor loss = objective(model, batch, means);
  check<ValueError>(loss.shape().numel() == 1, "the objective's loss is of shape ", loss.shape(),
                    ", expected a scalar");
  if (means.times("loss") == before)
    means.add("loss", loss.item<double>() * static_cast<double>(batch.size()), batch.size());
  return loss;
}

Objective classification(const CrossEntropyOptions& options) {
  check<ValueError>(options.reduction == Reduction::mean, "classification: the reduction is not mean");
  return [options](nn::Module& model, const data::Batch& batch, Means& means) {
    const auto& [x, labels] = batch;
    const Tensor logits = model(x);
    const NDArray classes = classes_of(logits, labels);
    const int64_t counted = targets_that_count(classes, options.ignore_index);
    means.add("accuracy", static_cast<double>(count_correct(logits.data(), classes)), counted);
    CrossEntropyOptions used = options;
    if (counted == 0) used.reduction = Reduction::sum;  // their mean is NaN
    const Tensor loss = cross_entropy(logits, labels, used);
    means.add("loss", loss.item<double>() * static_cast<double>(counted), counted);
    return loss;
  };
}

Objective regression() {
  return [](nn::Module& model, const data::Batch& batch, Means& means) {
    const auto& [x, targets] = batch;
    const Tensor y = model(x);
    const Tensor loss = mse_loss(y, targets);
    const NoGrad guard;
    const double error = mean(abs(y - targets)).item<double>();
    means.add("mean_absolute_error", error * static_cast<double>(batch.size()), batch.size());
    return loss;
  };
}

}  // namespace thimble
