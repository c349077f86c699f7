#include <cmath>
#include <limits>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/matmul.h>
#include <thimble/nn/data/tensor_dataset.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/dropout.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/training/callbacks.h>
#include <thimble/nn/training/evaluate.h>
#include <thimble/nn/training/fit.h>

namespace thimble {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

// Points of a plane, and on which side of a line they lie.
data::TensorDataset points(int64_t count, uint64_t seed) {
  manual_seed(seed);
  NDArray x({count, 2}), label({count}, DType::int64);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = static_cast<float>(default_generator().normal());
  for (int64_t i = 0; i < count; ++i) label.data<int64_t>()[i] = x.data<float>()[2 * i] > x.data<float>()[2 * i + 1];
  return data::TensorDataset({{"x", x}, {"label", label}});
}

std::unique_ptr<nn::Sequential> small_net(uint64_t seed) {
  manual_seed(seed);
  auto net = std::make_unique<nn::Sequential>();
  net->emplace<nn::Linear>(2, 8).emplace<nn::ReLU>().emplace<nn::Dropout>(0.25).emplace<nn::Linear>(8, 2);
  return net;
}

std::vector<float> weights_of(const nn::Module& net) {
  std::vector<float> all;
  for (const Tensor& parameter : net.parameters())
    for (const float value : parameter.data().to_vector<float>()) all.push_back(value);
  return all;
}

class Fitting : public testing::Test {
 protected:
  const data::TensorDataset train_ = points(100, 1), test_ = points(40, 2);
  const data::DataLoaderOptions batches_{.batch_size = 16, .shuffle = true, .seed = 5};
};

TEST_F(Fitting, IsTheLoopThatItReplaces) {
  const auto by_fit = small_net(3), by_loop = small_net(3);
  data::DataLoader loader(train_, batches_), same_loader(train_, batches_);
  optim::Adam adam(by_fit->parameters(), {.lr = 0.05}), same_adam(by_loop->parameters(), {.lr = 0.05});
  const optim::Schedule schedule = optim::cosine(3 * 7);
  manual_seed(4);
  const auto epochs =
      fit(*by_fit, adam, loader, classification(), {.epochs = 3, .evaluate = {{"test", &test_}}, .schedule = schedule});
  manual_seed(4);
  ASSERT_EQ(epochs.size(), 3u);
  for (int64_t epoch = 0, step = 0; epoch < 3; ++epoch) {
    by_loop->train();
    double loss_sum = 0;
    int64_t correct = 0;
    for (auto& [x, label] : same_loader) {
      same_adam.set_lr(0.05 * schedule(step++));
      const Tensor logits = (*by_loop)(x);
      const Tensor loss = cross_entropy(logits, label);
      same_adam.zero_grad();
      loss.backward();
      same_adam.step();
      loss_sum += loss.item<double>() * static_cast<double>(x.shape(0));
      correct += count_correct(logits.data(), label.data());
    }
    const Evaluation evaluation = evaluate(*by_loop, test_);
    const EpochRecord& record = epochs[static_cast<size_t>(epoch)];
    EXPECT_EQ(record["train_loss"], loss_sum / 100);
    EXPECT_EQ(record["train_accuracy"], static_cast<double>(correct) / 100);
    EXPECT_EQ(record["test_loss"], evaluation.loss);
    EXPECT_EQ(record["test_accuracy"], evaluation.accuracy);
  }
  EXPECT_EQ(weights_of(*by_fit), weights_of(*by_loop));
  EXPECT_GT(epochs.back()["test_accuracy"], 0.6);
}

// Ends the run behind a step, and keeps what it needs to go on.
struct StopAt : Callback {
  explicit StopAt(int64_t at) : step(at) {}
  void after_step(TrainingRun& run) override {
    if (run.steps() != step) return;
    run.stop = true;
    progress = run.snapshot().to_attributes();
  }
  int64_t step;
  Attributes progress;
};

TEST_F(Fitting, GoesOnFromAnyStepWithTheSameBits) {
  const auto whole = small_net(3);
  const auto run = [&](nn::Module& net, optim::Optimizer& optimizer, const TrainingProgress& start, Callback* stop) {
    data::DataLoader loader(train_, batches_);
    EarlyStopping patience("test_loss", {.patience = 100});
    FitOptions options{.epochs = 3,
                       .evaluate = {{"test", &test_}},
                       .schedule = optim::cosine(21),
                       .callbacks = {&patience},
                       .start = start};
    if (stop) options.callbacks.push_back(stop);
    return fit(net, optimizer, loader, classification(), options);
  };
  optim::Adam adam(whole->parameters(), {.lr = 0.01});
  manual_seed(4);
  const auto epochs = run(*whole, adam, {}, nullptr);
  for (const int64_t step : {1, 6, 7, 8, 14, 20, 21}) {
    SCOPED_TRACE(step);
    const auto net = small_net(3);
    optim::Adam first(net->parameters(), {.lr = 0.01}), second(net->parameters(), {.lr = 123});
    StopAt stop(step);
    manual_seed(4);
    run(*net, first, {}, &stop);
    second.load_state(first.state());
    const auto rest = run(*net, second, TrainingProgress::from_attributes(stop.progress), nullptr);
    EXPECT_EQ(weights_of(*net), weights_of(*whole));
    ASSERT_EQ(rest.size(), 3u);
    for (size_t i = 0; i < 3; ++i)
      for (const char* name : {"train_loss", "train_accuracy", "test_loss", "test_accuracy"})
        EXPECT_EQ(rest[i][name], epochs[i][name]) << name;
  }
}

TEST_F(Fitting, AUsedLoaderGoesOnWithItsEpochs) {
  const auto net = small_net(3), whole = small_net(3);
  optim::Adam adam(net->parameters(), {.lr = 0.01}), same_adam(whole->parameters(), {.lr = 0.01});
  data::DataLoader loader(train_, batches_), same_loader(train_, batches_);
  manual_seed(4);
  fit(*whole, same_adam, same_loader, classification(), {.epochs = 3});
  manual_seed(4);
  fit(*net, adam, loader, classification());
  StopAt stop(3);
  fit(*net, adam, loader, classification(), {.epochs = 2, .callbacks = {&stop}});
  fit(*net, adam, loader, classification(), {.epochs = 2, .start = TrainingProgress::from_attributes(stop.progress)});
  EXPECT_EQ(weights_of(*net), weights_of(*whole));
}

TEST_F(Fitting, ALoaderOfOtherStepsIsRefused) {
  nn::Linear net(2, 2);
  optim::SGD sgd(net.parameters(), {.lr = 0.1});
  data::DataLoader loader(train_, batches_), larger(train_, {.batch_size = 32}),
      none(train_, {.batch_size = 1000, .drop_last = true});
  StopAt stop(3);
  fit(net, sgd, loader, classification(), {.callbacks = {&stop}});
  const TrainingProgress progress = TrainingProgress::from_attributes(stop.progress);
  EXPECT_THAT([&] { fit(net, sgd, larger, classification(), {.start = progress}); },
              ThrowsMessage<ValueError>(HasSubstr("had epochs of 7 steps, and the loader's are of 4")));
  EXPECT_THAT([&] { fit(net, sgd, none, classification()); }, ThrowsMessage<ValueError>(HasSubstr("no batches")));
}

TEST_F(Fitting, ProgressIsTheSameAfterItsAttributes) {
  TrainingProgress progress;
  progress.epochs = {EpochRecord({{"train_loss", 3}, {"seconds", 2}}),
                     EpochRecord({{"train_loss", 2}, {"odd_loss", 1}, {"seconds", 4}})};
  progress.current = {.steps = 3, .examples = 48, .seconds = 0.5};
  progress.current.means.add("loss", 12, 48);
  progress.lr = 0.25;
  progress.callbacks.set("1.best", 0.5);
  const TrainingProgress same = TrainingProgress::from_attributes(progress.to_attributes());
  EXPECT_EQ(same.described(), "step 3 of epoch 3");
  EXPECT_EQ(same.current.means["loss"], 0.25);
  EXPECT_EQ(same.lr, 0.25);
  EXPECT_EQ(same.callbacks, progress.callbacks);
  EXPECT_EQ(same.epochs[0]["train_loss"], 3);
  EXPECT_TRUE(std::isnan(same.epochs[0]["odd_loss"]));
  EXPECT_EQ(same.epochs[1].values()[1].first, "seconds");
  Attributes wrong = progress.to_attributes();
  wrong.set("epochs.seconds", std::vector<double>{1});
  EXPECT_THROW(TrainingProgress::from_attributes(wrong), FormatError);
  wrong = progress.to_attributes();
  wrong.set("epoch", int64_t{1} << 38);  // no memory is taken for what is claimed
  EXPECT_THROW(TrainingProgress::from_attributes(wrong), FormatError);
  wrong = progress.to_attributes();
  wrong.set("columns.0", std::string("seconds"));
  EXPECT_THAT([&] { TrainingProgress::from_attributes(wrong); },
              ThrowsMessage<FormatError>(HasSubstr("'seconds' is there twice")));
}

// As versions before fit() wrote it.
TEST_F(Fitting, ProgressOfEarlierVersionsIsRead) {
  const std::vector<double> one{0.5};
  const Attributes earlier{{"epoch", int64_t{1}},
                           {"step", int64_t{2}},
                           {"images", int64_t{32}},
                           {"correct", int64_t{8}},
                           {"loss_sum", 64.0},
                           {"seconds", 1.0},
                           {"epochs.train_loss", one},
                           {"epochs.train_accuracy", one},
                           {"epochs.test_accuracy", one},
                           {"epochs.test_loss", one},
                           {"epochs.images_per_second", std::vector<double>{7}},
                           {"epochs.seconds", one}};
  const TrainingProgress progress = TrainingProgress::from_attributes(earlier);
  EXPECT_EQ(progress.current.means["loss"], 2);
  EXPECT_EQ(progress.current.means["accuracy"], 0.25);
  EXPECT_EQ(progress.epochs[0]["examples_per_second"], 7);
  EXPECT_EQ(progress.described(), "step 2 of epoch 2");
  for (const char* key : {"images", "correct", "step", "epoch"}) {
    Attributes wrong = earlier;
    wrong.set(key, int64_t{-1});
    EXPECT_THROW(TrainingProgress::from_attributes(wrong), FormatError) << key;
  }
}

TEST_F(Fitting, ObjectivesAreTheUsers) {
  manual_seed(6);
  nn::Linear net(2, 1);
  data::DataLoader loader(train_, batches_);
  optim::SGD sgd(net.parameters(), {.lr = 0.1});
  const Objective difference = [](nn::Module& model, const data::Batch& batch, Means& means) {
    const Tensor target = sum(batch["x"], {1}, true), y = model(batch["x"]);
    means.add("examples_seen", static_cast<double>(batch.size()), 1);
    return mse_loss(y, target);
  };
  const auto epochs = fit(net, sgd, loader, difference, {.epochs = 10, .evaluate = {{"test", &test_}}});
  EXPECT_LT(epochs.back()["test_loss"], 1e-3);
  EXPECT_NEAR(epochs.back()["train_examples_seen"], 100.0 / 7, 1e-12);
  EXPECT_THAT([&] { (void)epochs.back()["accuracy"]; },
              ThrowsMessage<ValueError>(HasSubstr("there are: train_loss, train_examples_seen, test_loss")));
}

TEST_F(Fitting, RegressionReportsTheError) {
  nn::Linear net(NDArray::from_vector<float>({1, 0}, {1, 2}), Tensor());
  const data::TensorDataset data({{"x", NDArray::from_vector<float>({1, 5, 2, 5, 3, 5}, {3, 2})},
                                  {"y", NDArray::from_vector<float>({2, 2, 0}, {3, 1})}});
  for (const int64_t batch : {1, 2, 3}) {
    const Means means = evaluate(net, data, regression(), batch);
    EXPECT_NEAR(means["mean_absolute_error"], (1 + 0 + 3) / 3.0, 1e-6);
    EXPECT_NEAR(means["loss"], (1 + 0 + 9) / 3.0, 1e-6);
  }
}

// Two targets of three count, of which one is right.
TEST_F(Fitting, TargetsThatAreIgnoredCountForNothing) {
  nn::Linear net(NDArray::from_vector<float>({1, 0, 0, 1}, {2, 2}), Tensor());
  const data::TensorDataset data({{"x", NDArray::from_vector<float>({1, 0, 1, 0, 0, 1}, {3, 2})},
                                  {"label", NDArray::from_vector<int64_t>({0, 1, -100})}});
  const double right = std::log(1 + std::exp(-1.0)), wrong = right + 1;
  for (const int64_t batch : {1, 2, 3}) {
    const Means means = evaluate(net, data, classification(), batch);
    EXPECT_NEAR(means["loss"], (right + wrong) / 2, 1e-6) << batch;
    EXPECT_EQ(means["accuracy"], 0.5) << batch;
  }
}

TEST_F(Fitting, TrainsOnWhatMixUpMakes) {
  const auto net = small_net(3);
  optim::Adam adam(net->parameters(), {.lr = 0.02});
  data::DataLoaderOptions mixed = batches_;
  mixed.transform = data::MixUp(0.2, 2);
  data::DataLoader loader(train_, mixed);
  const auto epochs = fit(*net, adam, loader, classification(), {.epochs = 10, .evaluate = {{"test", &test_}}});
  EXPECT_GT(epochs.back()["train_accuracy"], 0.7);
  EXPECT_GT(epochs.back()["test_accuracy"], 0.8);
}

// The run's test loss at each epoch, as it would be.
struct PretendedLoss : Callback {
  explicit PretendedLoss(std::vector<double> each) : losses(std::move(each)) {}
  void after_epoch(TrainingRun& run) override {
    const auto epoch = static_cast<size_t>(run.progress.epoch() - 1);
    run.progress.epochs.back() = EpochRecord({{"test_loss", losses.at(epoch)}, {"seconds", 0}});
  }
  std::vector<double> losses;
};

TEST_F(Fitting, StopsWhenItGetsNoBetter) {
  constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN(),
                   kInfinite = std::numeric_limits<double>::infinity();
  const auto epochs_with = [&](const std::vector<double>& losses, const EarlyStoppingOptions& options) {
    nn::Linear net(2, 2);
    data::DataLoader loader(train_, batches_);
    optim::SGD sgd(net.parameters(), {.lr = 0.1});
    PretendedLoss loss(losses);
    EarlyStopping stopping("test_loss", options);
    const FitOptions fitting{.epochs = std::ssize(losses), .callbacks = {&loss, &stopping}};
    return fit(net, sgd, loader, classification(), fitting).size();
  };
  EXPECT_EQ(epochs_with({3, 2, 2.5, 2.25, 1, 1, 1}, {.patience = 2}), 4u);
  EXPECT_EQ(epochs_with({3, 2, 2.5, 1, 1.5, 1.5, 9}, {.patience = 2}), 6u);
  EXPECT_EQ(epochs_with({3, 2.9, 2.8, 2.7}, {.patience = 2, .min_delta = 0.5}), 3u);
  EXPECT_EQ(epochs_with({1, 2, 3, 2, 1, 0}, {.patience = 2, .higher_is_better = true}), 5u);
  EXPECT_EQ(epochs_with({kNotANumber, kNotANumber, 1, 2}, {.patience = 3}), 4u);
  EXPECT_EQ(epochs_with({kNotANumber, kNotANumber, 1}, {.patience = 2}), 2u);
  EXPECT_EQ(epochs_with({kInfinite, kInfinite, kInfinite, 1}, {.patience = 2}), 3u);
  EXPECT_THROW(EarlyStopping("test_loss", {.patience = 0}), ValueError);
  EXPECT_THROW(EarlyStopping("test_loss", {.min_delta = -1}), ValueError);
}

TEST_F(Fitting, ARunThatHasStoppedStaysStopped) {
  const auto run = [&](const std::vector<double>& losses, const TrainingProgress& start, int64_t stop_at) {
    nn::Linear net(2, 2);
    data::DataLoader loader(train_, batches_);
    optim::SGD sgd(net.parameters(), {.lr = 0.1});
    PretendedLoss loss(losses);
    EarlyStopping stopping("test_loss", {.patience = 2});
    struct Keep : Callback {
      void after_epoch(TrainingRun& run) override {
        if (run.progress.epoch() == at) run.stop = true, kept = run.snapshot().to_attributes();
      }
      int64_t at = 0;
      Attributes kept;
    } keep;
    keep.at = stop_at;
    const auto epochs = fit(net, sgd, loader, classification(),
                            {.epochs = std::ssize(losses), .callbacks = {&loss, &stopping, &keep}, .start = start});
    return std::pair(epochs.size(), keep.kept);
  };
  const std::vector<double> losses{1, 2, 3, 0, 0};
  EXPECT_EQ(run(losses, {}, 0).first, 3u);
  // One epoch was worse before the interruption, and one is after it.
  const Attributes after_two = run(losses, {}, 2).second, after_three = run(losses, {}, 3).second;
  EXPECT_EQ(run(losses, TrainingProgress::from_attributes(after_two), 0).first, 3u);
  EXPECT_EQ(run(losses, TrainingProgress::from_attributes(after_three), 0).first, 3u);
}

TEST_F(Fitting, CallbacksRefuseTheStateOfOthers) {
  EarlyStopping stopping("test_loss");
  EXPECT_THROW(stopping.load_state({{"monitor", std::string("test_accuracy")}, {"best", 1.0}}), FormatError);
  EXPECT_THROW(stopping.load_state({{"worse_epochs", int64_t{-1}}}), FormatError);
  EXPECT_NO_THROW(stopping.load_state(stopping.state()));
}

TEST_F(Fitting, LinesSayWhatWasMeasured) {
  nn::Linear net(2, 2);
  data::DataLoader loader(train_, batches_);
  optim::SGD sgd(net.parameters(), {.lr = 0.1});
  std::ostringstream out;
  EpochLines lines(out);
  fit(net, sgd, loader, classification(), {.epochs = 2, .evaluate = {{"test", &test_}}, .callbacks = {&lines}});
  EXPECT_THAT(out.str(), testing::MatchesRegex("epoch 1/2: train loss 0.[0-9]+, train accuracy 0.[0-9]+, test loss "
                                               "0.[0-9]+, test accuracy 0.[0-9]+, [0-9.]+ s\nepoch 2/2: [^\n]*\n"));
}

TEST_F(Fitting, SaysWhatIsWrong) {
  nn::Linear net(2, 2);
  data::DataLoader loader(train_, batches_);
  optim::SGD sgd(net.parameters(), {.lr = 0.1});
  const Objective diverges = [](nn::Module& model, const data::Batch& batch, Means&) {
    return sum(model(batch["x"])) * std::numeric_limits<double>::infinity();
  };
  EXPECT_THAT([&] { fit(net, sgd, loader, diverges, {.epochs = 3}); },
              ThrowsMessage<ValueError>(HasSubstr("of epoch 1: try a smaller learning rate")));
  const Objective no_scalar = [](nn::Module& model, const data::Batch& batch, Means&) { return model(batch["x"]); };
  EXPECT_THAT([&] { fit(net, sgd, loader, no_scalar); }, ThrowsMessage<ValueError>(HasSubstr("expected a scalar")));
  EXPECT_THROW(fit(net, sgd, loader, classification(), {.evaluate = {{"test", nullptr}}}), ValueError);
  EXPECT_THROW(fit(net, sgd, loader, classification(), {.evaluate = {{"train", &test_}}}), ValueError);
  EXPECT_THROW(fit(net, sgd, loader, classification(), {.evaluate = {{"a", &test_}, {"a", &test_}}}), ValueError);
  EXPECT_THROW(fit(net, sgd, loader, classification(), {.max_grad_norm = 0}), ValueError);
  EXPECT_THROW(fit(net, sgd, loader, classification(), {.callbacks = {nullptr}}), ValueError);
  EXPECT_THROW(fit(net, sgd, loader, classification(), {.epochs = -1}), ValueError);
}

}  // namespace
}  // namespace thimble
