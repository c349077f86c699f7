#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>

#include <thimble/core/autocast.h>
#include <thimble/core/text.h>
#include <thimble/nn/training/evaluate.h>
#include <thimble/nn/training/fit.h>
#include <thimble/nn/training/optim/clip_grad.h>

namespace thimble {

namespace {

using Clock = std::chrono::steady_clock;

std::string key_of_callback(size_t i) { return str(i, '.'); }

void check_options(const FitOptions& o) {
  check<ValueError>(o.epochs >= 0, "fit: ", o.epochs, " epochs");
  check<ValueError>(o.evaluation_batch_size >= 1, "fit: evaluation batches of ", o.evaluation_batch_size);
  check<ValueError>(!o.max_grad_norm || *o.max_grad_norm > 0, "fit: max_grad_norm is ", o.max_grad_norm.value_or(0));
  std::set<std::string> names{"train"};
  for (const EvaluationSet& set : o.evaluate) {
    check<ValueError>(set.dataset && !set.name.empty(), "fit: an evaluation set has no ",
                      set.dataset ? "name" : "dataset");
    check<ValueError>(set.dataset->size() > 0, "fit: the evaluation set ", detail::quote(set.name), " is empty");
    check<ValueError>(names.insert(set.name).second, "fit: the name ", detail::quote(set.name),
                      " of an evaluation set is taken");
  }
  for (const Callback* callback : o.callbacks) check<ValueError>(callback, "fit: a callback is null");
}

class Fit {
 public:
  Fit(nn::Module& model, optim::Optimizer& optimizer, data::DataLoader& loader, const Objective& objective,
      const FitOptions& options)
      : loader_(loader), objective_(objective), options_(options), run_{model, optimizer, options, loader.size()} {
    check_options(options);
    run_.progress = options.start;
    if (options.max_grad_norm) parameters_ = model.parameters();
    begin_or_go_on();
    for (size_t i = 0; i < options.callbacks.size(); ++i)
      options.callbacks[i]->load_state(options.start.callbacks.part(key_of_callback(i)));
  }

  std::vector<EpochRecord> run() {
    call(&Callback::on_start);
    loader_.set_epoch(run_.progress.first_epoch + run_.progress.epoch());
    while (run_.progress.epoch() < options_.epochs && !run_.stop) {
      run_.model.train();
      train_epoch();
      if (!run_.stop || run_.progress.current.steps == run_.steps_per_epoch) finish_epoch();
    }
    call(&Callback::on_end);
    if (options_.schedule) run_.optimizer.set_lr(*run_.progress.lr);
    return std::move(run_.progress.epochs);
  }

 private:
  void begin_or_go_on() {
    TrainingProgress& progress = run_.progress;
    check<ValueError>(run_.steps_per_epoch > 0, "fit: the loader has no batches");
    if (!progress.lr) progress.lr = run_.optimizer.lr();
    if (progress.epoch() == 0 && progress.current.steps == 0) progress.first_epoch = loader_.epoch();
    const int64_t steps = progress.epoch_steps.value_or(run_.steps_per_epoch);
    check<ValueError>(steps == run_.steps_per_epoch && progress.current.steps <= steps,
                      "fit: the run that goes on after ", progress.described(), " had epochs of ",
                      std::max(steps, progress.current.steps), " steps, and the loader's are of ",
                      run_.steps_per_epoch);
    progress.epoch_steps = steps;
  }

  void call(void (Callback::*event)(TrainingRun&)) {
    for (Callback* callback : options_.callbacks) (callback->*event)(run_);
  }

  void train_epoch() {
    EpochSoFar& epoch = run_.progress.current;
    const double seconds_before = epoch.seconds;
    const auto start = Clock::now();
    loader_.skip(epoch.steps);
    for (const data::Batch& batch : loader_) {
      call(&Callback::before_step);
      if (options_.schedule) run_.optimizer.set_lr(*run_.progress.lr * options_.schedule(run_.steps()));
      train_step(batch);
      epoch.seconds = seconds_before + std::chrono::duration<double>(Clock::now() - start).count();
      call(&Callback::after_step);
      if (run_.stop) return;
    }
  }

  void train_step(const data::Batch& batch) {
    const Autocast guard(options_.precision);
    EpochSoFar& epoch = run_.progress.current;
    const Tensor loss = reported_loss(objective_, run_.model, batch, epoch.means);
    run_.optimizer.zero_grad();
    loss.backward();
    if (options_.max_grad_norm) optim::clip_grad_norm(parameters_, *options_.max_grad_norm);
    run_.optimizer.step();
    ++epoch.steps;
    epoch.examples += batch.size();
    const auto value = loss.item<double>();
    check<ValueError>(std::isfinite(value), "the training loss is ", value, " at step ", epoch.steps, " of epoch ",
                      run_.progress.epoch() + 1, ": try a smaller learning rate");
  }

  void finish_epoch() {
    const Autocast guard(DType::float32);
    EpochSoFar& epoch = run_.progress.current;
    EpochRecord::Values values;
    const auto add = [&](const std::string& set, const Means& means) {
      for (const Means::Mean& mean : means.all()) values.emplace_back(set + '_' + mean.name, mean.value());
    };
    add("train", epoch.means);
    for (const auto& [name, dataset] : options_.evaluate)
      add(name, evaluate(run_.model, *dataset, objective_, options_.evaluation_batch_size));
    values.emplace_back("examples_per_second", epoch.examples_per_second());
    values.emplace_back("seconds", epoch.seconds);
    run_.progress.epochs.emplace_back(std::move(values));
    epoch = {};
    call(&Callback::after_epoch);
  }

  data::DataLoader& loader_;
  const Objective& objective_;
  const FitOptions& options_;
  TrainingRun run_;
  std::vector<Tensor> parameters_;  // whose gradients are clipped
};

}  // namespace

std::string TrainingRun::title(int64_t epoch) const { return str("epoch ", epoch, '/', options.epochs); }

TrainingProgress TrainingRun::snapshot() const {
  TrainingProgress now = progress;
  now.callbacks = {};
  for (size_t i = 0; i < options.callbacks.size(); ++i)
    now.callbacks.set_all(key_of_callback(i), options.callbacks[i]->state());
  return now;
}

std::vector<EpochRecord> fit(nn::Module& model, optim::Optimizer& optimizer, data::DataLoader& loader,
                             const Objective& objective, const FitOptions& options) {
  return Fit(model, optimizer, loader, objective, options).run();
}

}  // namespace thimble
