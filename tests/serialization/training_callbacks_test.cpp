#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/serialization/files.h"
#include <thimble/nn/data/tensor_dataset.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/dropout.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/serialization/checkpoint.h>
#include <thimble/serialization/training_callbacks.h>

namespace thimble {
namespace {

// Sums of two numbers.
data::TensorDataset sums() {
  NDArray x({64, 2}), y({64, 1});
  for (int64_t i = 0; i < 64; ++i) {
    x.data<float>()[2 * i] = static_cast<float>(i % 8) / 8;
    x.data<float>()[2 * i + 1] = static_cast<float>(i / 8) / 8;
    y.data<float>()[i] = static_cast<float>(i % 8 + i / 8) / 8;
  }
  return data::TensorDataset({{"x", x}, {"y", y}});
}

struct Adder : nn::Sequential {
  explicit Adder(uint64_t seed) {
    manual_seed(seed);
    emplace<nn::Linear>(2, 4).emplace<nn::Dropout>(0.1).emplace<nn::Linear>(4, 1);
  }
};

class TrainingCallbacks : public testing::Test {
 protected:
  std::vector<EpochRecord> train(nn::Module& net, optim::Optimizer& optimizer, FitOptions options) {
    data::DataLoader loader(sums_, {.batch_size = 16, .shuffle = true, .seed = 2});
    options.evaluate = {{"test", &sums_}};
    return fit(net, optimizer, loader, regression(), options);
  }

  TempFolder folder_;
  const data::TensorDataset sums_ = sums();
};

// Makes the model worse at the end of each epoch but the second.
struct Spoil : Callback {
  void after_epoch(TrainingRun& run) override {
    const double loss = run.progress.epoch() == 2 ? 0.5 : 1.5;
    run.progress.epochs.back() = EpochRecord({{"test_loss", loss}, {"seconds", 0}});
    for (const Tensor& parameter : run.model.parameters())
      parameter.set_data(NDArray::full(parameter.shape(), static_cast<double>(run.progress.epoch())));
  }
};

TEST_F(TrainingCallbacks, TheBestModelIsKept) {
  Adder net(1);
  optim::SGD sgd(net.parameters(), {.lr = 1e-9});
  Spoil spoil;
  BestCheckpoint best(folder_ / "best.safetensors", sums_.example(), {.name = "test_loss"},
                      {{"by", std::string("me")}});
  train(net, sgd, {.epochs = 4, .callbacks = {&spoil, &best}});
  EXPECT_TRUE(net.training());
  nn::Graph saved = load_model(folder_ / "best.safetensors");
  saved.eval();
  // After epoch 2 all weights and biases are 2, and dropout changes nothing: 4 * 2 * (2 * (1 + 1) + 2) + 2.
  const Tensor y = saved(NDArray::ones({1, 2}));
  EXPECT_EQ(y.data().to_vector<float>(), std::vector<float>{50});
}

TEST_F(TrainingCallbacks, TheBestOfBeforeIsRemembered) {
  const std::string file = folder_ / "best.safetensors";
  BestCheckpoint before(file, sums_.example(), {.name = "test_loss"}),
      best(file, sums_.example(), {.name = "test_loss"});
  before.load_state({{"best", 1e-9}});
  Adder net(1);
  optim::SGD sgd(net.parameters(), {.lr = 0.1});
  TrainingProgress start;
  start.callbacks.set_all("0.", before.state());
  train(net, sgd, {.epochs = 2, .callbacks = {&best}, .start = start});
  EXPECT_FALSE(std::filesystem::exists(file));
}

TEST_F(TrainingCallbacks, ARunGoesOnFromItsStates) {
  Adder whole(1);
  optim::Adam adam(whole.parameters(), {.lr = 0.01});
  train(whole, adam, {.epochs = 4, .schedule = optim::cosine(16)});

  const std::string states = folder_ / "states";
  {
    struct Crash : Callback {
      void after_step(TrainingRun& run) override {
        if (run.steps() == 7) throw IOError("crash");
      }
    } crash;
    Adder net(1);
    optim::Adam optimizer(net.parameters(), {.lr = 0.01});
    SaveStates saving(states, {.every = 3});
    EXPECT_THROW(train(net, optimizer, {.epochs = 4, .schedule = optim::cosine(16), .callbacks = {&saving, &crash}}),
                 IOError);
  }
  Adder net(99);
  optim::Adam optimizer(net.parameters(), {.lr = 0.5});
  const TrainingProgress progress = resume_training(states, net, optimizer);
  EXPECT_EQ(progress.described(), "step 2 of epoch 2");
  SaveStates saving(states, {.every = 3});
  const auto epochs =
      train(net, optimizer, {.epochs = 4, .schedule = optim::cosine(16), .callbacks = {&saving}, .start = progress});
  EXPECT_EQ(epochs.size(), 4u);
  for (size_t i = 0; i < net.parameters().size(); ++i)
    EXPECT_EQ(net.parameters()[i].data().to_vector<float>(), whole.parameters()[i].data().to_vector<float>());
  EXPECT_EQ(resume_training(states, net, optimizer).described(), "epoch 4");
  // A run from the start would remove them.
  SaveStates again(folder_ / "others", {.every = 3});
  EXPECT_NO_THROW(train(net, optimizer, {.callbacks = {&again}}));
  EXPECT_THROW(train(net, optimizer, {.callbacks = {&saving}}), ValueError);
}

TEST_F(TrainingCallbacks, NoStatesAreAStart) {
  Adder net(1);
  optim::SGD sgd(net.parameters(), {.lr = 0.1});
  EXPECT_EQ(resume_training(folder_ / "none", net, sgd).epoch(), 0);
  EXPECT_THROW(SaveStates(folder_ / "s", {.every = 0}), ValueError);
}

}  // namespace
}  // namespace thimble
