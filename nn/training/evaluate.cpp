#include <thimble/core/ops/loss.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/nn/data/dataloader.h>
#include <thimble/nn/training/eval_mode.h>
#include <thimble/nn/training/evaluate.h>

namespace thimble {

int64_t count_correct(const NDArray& logits, const NDArray& labels) {
  check<ShapeError>(logits.ndim() == 2 && labels.ndim() == 1 && labels.shape(0) == logits.shape(0),
                    "evaluate: expects logits [n, classes] for labels ", labels.shape(), ", got ", logits.shape());
  const auto predicted = argmax(logits, 1).to_vector<int64_t>(), expected = labels.to_vector<int64_t>();
  int64_t correct = 0;
  for (size_t i = 0; i < expected.size(); ++i) correct += predicted[i] == expected[i];
  return correct;
}

Evaluation evaluate(nn::Module& model, const data::Dataset& dataset, int64_t batch_size) {
  check<ValueError>(dataset.size() > 0, "evaluate: the dataset is empty");
  const nn::EvalMode mode(model);
  const NoGrad guard;
  Evaluation total;
  double loss = 0;
  int64_t correct = 0;
  data::DataLoader loader(dataset, {.batch_size = batch_size});
  for (auto& [images, labels] : loader) {
    const Tensor logits = model(images);
    correct += count_correct(logits.data(), labels.data());
    loss += cross_entropy(logits, labels, {.reduction = Reduction::sum}).item<double>();
    total.images += labels.shape(0);
  }
  total.accuracy = static_cast<double>(correct) / static_cast<double>(total.images);
  total.loss = loss / static_cast<double>(total.images);
  return total;
}

double accuracy(nn::Module& model, const data::Dataset& dataset) { return evaluate(model, dataset).accuracy; }

}  // namespace thimble
