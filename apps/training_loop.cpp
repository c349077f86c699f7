#include "apps/training_loop.h"

#include <chrono>
#include <cmath>

#include "apps/numbers.h"
#include "apps/progress_bar.h"
#include <thimble/core/ops/loss.h>
#include <thimble/nn/evaluate.h>

namespace thimble::apps {

using Clock = std::chrono::steady_clock;

EpochResult train_epoch(nn::Module& model, optim::Optimizer& optimizer, data::DataLoader& loader,
                        const std::string& title, const std::function<void(int64_t)>& before_step) {
  const auto start = Clock::now();
  ProgressBar bar(title, loader.size());
  EpochResult result;
  double loss_sum = 0;
  int64_t correct = 0, step = 0;
  for (auto& [images, labels] : loader) {
    before_step(step++);
    const Tensor logits = model(images);
    const Tensor loss = cross_entropy(logits, labels);
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    loss_sum += loss.item<double>() * static_cast<double>(labels.shape(0));
    correct += count_correct(logits.data(), labels.data());
    result.images += labels.shape(0);
    result.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (bar.visible())
      bar.update(step, str("loss ", fixed(loss_sum / static_cast<double>(result.images), 4), "  accuracy ",
                           fixed(100.0 * static_cast<double>(correct) / static_cast<double>(result.images), 2), "%  ",
                           with_commas(static_cast<int64_t>(result.images_per_second())), " images/s"));
  }
  result.loss = loss_sum / static_cast<double>(result.images);
  result.accuracy = static_cast<double>(correct) / static_cast<double>(result.images);
  check(std::isfinite(result.loss), "the training loss is ", result.loss, ": try a smaller --lr");
  return result;
}

}  // namespace thimble::apps
