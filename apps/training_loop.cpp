#include "apps/training_loop.h"

#include <chrono>
#include <cmath>

#include "apps/numbers.h"
#include "apps/progress_bar.h"
#include <thimble/core/autocast.h>
#include <thimble/core/ops/loss.h>
#include <thimble/nn/training/evaluate.h>

namespace thimble::apps {

namespace {

using Clock = std::chrono::steady_clock;

Tensor logits_of(nn::Module& model, const Tensor& images) {
  try {
    return model(images);
  } catch (const ValueError& e) {  // batch normalization of one pixel
    if (images.shape(0) > 1) throw;
    throw ValueError(str(e.what(), "; the batch is one image: take a --batch-size of 2 or more"));
  }
}

void train_step(nn::Module& model, optim::Optimizer& optimizer, const data::Batch& batch, DType precision,
                EpochResult& epoch) {
  const Autocast guard(precision);
  const auto& [images, labels] = batch;
  const Tensor logits = logits_of(model, images);
  const Tensor loss = cross_entropy(logits, labels);
  optimizer.zero_grad();
  loss.backward();
  optimizer.step();
  ++epoch.steps;
  epoch.images += batch.size();
  epoch.correct += count_correct(logits.data(), labels.data());
  epoch.loss_sum += loss.item<double>() * static_cast<double>(batch.size());
  check(std::isfinite(epoch.loss_sum), "the training loss is ", loss.item<double>(), " at step ", epoch.steps,
        " of the epoch: try a smaller --lr");
}

std::string described(const EpochResult& epoch) {
  return str("loss ", fixed(epoch.loss(), 4), "  accuracy ", fixed(100 * epoch.accuracy(), 2), "%  ",
             with_commas(static_cast<int64_t>(epoch.images_per_second())), " images/s");
}

}  // namespace

void train_epoch(nn::Module& model, optim::Optimizer& optimizer, data::DataLoader& loader, const std::string& title,
                 const StepHooks& hooks, EpochResult& epoch) {
  const double seconds_before = epoch.seconds;
  const auto start = Clock::now();
  ProgressBar bar(title, loader.size());
  for (const data::Batch& batch : loader) {
    hooks.before(epoch.steps);
    train_step(model, optimizer, batch, hooks.precision, epoch);
    epoch.seconds = seconds_before + std::chrono::duration<double>(Clock::now() - start).count();
    if (bar.visible()) bar.update(epoch.steps, described(epoch));
    hooks.after();
  }
}

}  // namespace thimble::apps
