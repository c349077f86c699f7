#include <thimble/core/ops/reduce.h>
#include <thimble/nn/data/dataloader.h>
#include <thimble/nn/training/eval_mode.h>
#include <thimble/nn/training/evaluate.h>

namespace thimble {

int64_t count_correct(const NDArray& logits, const NDArray& labels) {
  Shape expected_shape = logits.shape();
  if (logits.ndim() >= 2) expected_shape.erase(1);
  check<ShapeError>(logits.ndim() >= 2 && labels.shape() == expected_shape,
                    "evaluate: expects logits [n, classes] or [n, classes, ...] for labels ", labels.shape(), ", got ",
                    logits.shape());
  const auto predicted = argmax(logits, 1).to_vector<int64_t>(), expected = labels.to_vector<int64_t>();
  int64_t correct = 0;
  for (size_t i = 0; i < expected.size(); ++i) correct += predicted[i] == expected[i];
  return correct;
}

Means evaluate(nn::Module& model, const data::Dataset& dataset, const Objective& objective, int64_t batch_size) {
  check<ValueError>(dataset.size() > 0, "evaluate: the dataset is empty");
  const nn::EvalMode mode(model);
  const NoGrad guard;
  Means means;
  data::DataLoader loader(dataset, {.batch_size = batch_size});
  for (const data::Batch& batch : loader) (void)reported_loss(objective, model, batch, means);
  return means;
}

Evaluation evaluate(nn::Module& model, const data::Dataset& dataset, int64_t batch_size) {
  const Means means = evaluate(model, dataset, classification(), batch_size);
  return {.accuracy = means["accuracy"], .loss = means["loss"], .images = dataset.size()};
}

double accuracy(nn::Module& model, const data::Dataset& dataset) { return evaluate(model, dataset).accuracy; }

}  // namespace thimble
