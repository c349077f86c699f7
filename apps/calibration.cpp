#include "apps/calibration.h"

#include <thimble/nn/data/dataloader.h>
#include <thimble/nn/training/evaluate.h>

namespace thimble::apps {

std::vector<Tensor> calibration_batches(const data::Dataset& train, int64_t images) {
  std::vector<Tensor> batches;
  data::DataLoader loader(train, {.batch_size = 64, .shuffle = true, .limit = images});
  for (auto& [batch, labels] : loader) batches.push_back(batch);
  return batches;
}

void run_on(nn::Graph& graph, const std::vector<Tensor>& batches) {
  const NoGrad guard;
  for (const Tensor& batch : batches) graph(batch);
}

double accuracy_on(nn::Graph& graph, const data::Dataset& dataset, int64_t limit) {
  const NoGrad guard;
  int64_t correct = 0, images = 0;
  data::DataLoader loader(dataset, {.batch_size = 256, .limit = limit});
  for (auto& [batch, labels] : loader) {
    correct += count_correct(graph(batch).data(), labels.data());
    images += labels.shape(0);
  }
  return static_cast<double>(correct) / static_cast<double>(images);
}

}  // namespace thimble::apps
