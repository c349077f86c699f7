// RMSprop, Adagrad, NAdam, Lion and amsgrad beside their numbers: states, options, bits; clipping; schedules; averages.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/core/memory.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/training/optim/adagrad.h>
#include <thimble/nn/training/optim/clip_grad.h>
#include <thimble/nn/training/optim/lion.h>
#include <thimble/nn/training/optim/moving_average.h>
#include <thimble/nn/training/optim/nadam.h>
#include <thimble/nn/training/optim/optimizer.h>
#include <thimble/nn/training/optim/reduce_lr_on_plateau.h>
#include <thimble/nn/training/optim/rmsprop.h>
#include <thimble/nn/training/optim/schedule.h>

namespace thimble::optim {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

using Maker = std::function<std::unique_ptr<Optimizer>(const std::vector<Tensor>&)>;

const std::vector<std::pair<const char*, Maker>> kMakers = {
    {"amsgrad", [](auto& p) { return std::make_unique<AdamW>(p, AdamWOptions{.lr = 0.01, .amsgrad = true}); }},
    {"RMSprop", [](auto& p) { return std::make_unique<RMSprop>(p); }},
    {"RMSprop, all",
     [](auto& p) {
       return std::make_unique<RMSprop>(p, RMSpropOptions{.weight_decay = 0.1, .momentum = 0.9, .centered = true});
     }},
    {"Adagrad",
     [](auto& p) {
       return std::make_unique<Adagrad>(p, AdagradOptions{.lr_decay = 0.1, .initial_accumulator_value = 0.5});
     }},
    {"NAdam", [](auto& p) { return std::make_unique<NAdam>(p, NAdamOptions{.weight_decay = 0.1}); }},
    {"Lion", [](auto& p) { return std::make_unique<Lion>(p, LionOptions{.lr = 0.01, .weight_decay = 0.1}); }}};

std::vector<Tensor> some_parameters(int64_t n) {
  Generator generator(7);
  return {Tensor(randn({n}, generator), true), Tensor(randn({3, 5}, generator), true)};
}

// The second parameter has none at first.
void some_gradients(const std::vector<Tensor>& parameters, int step) {
  Generator generator(static_cast<uint64_t>(100 + step));
  for (size_t i = 0; i < parameters.size(); ++i) {
    const NDArray g = randn(parameters[i].shape(), generator);
    parameters[i].set_grad(i == 1 && step < 2 ? Tensor() : Tensor(g));
  }
}

void train_on(Optimizer& optimizer, const std::vector<Tensor>& parameters, int begin, int end) {
  for (int i = begin; i < end; ++i) {
    some_gradients(parameters, i);
    optimizer.step();
  }
}

std::vector<std::vector<float>> all_values(const std::vector<Tensor>& parameters) {
  std::vector<std::vector<float>> values;
  for (const Tensor& p : parameters) values.push_back(p.data().to_vector<float>());
  return values;
}

TEST(MoreOptimizers, EveryInstructionSetAndThreadCountGivesTheSameBits) {
  const Isa isa = active_isa();
  const int threads = num_threads();
  for (const auto& [name, make] : kMakers) {
    SCOPED_TRACE(name);
    std::vector<std::vector<float>> expected;
    for (Isa use : available_isas()) {
      set_isa(use);
      for (int n : {1, 3}) {
        set_num_threads(n);
        const std::vector<Tensor> p = some_parameters(40001);
        const auto optimizer = make(p);
        train_on(*optimizer, p, 0, 4);
        if (expected.empty()) expected = all_values(p);
        EXPECT_EQ(all_values(p), expected) << thimble::name(use) << ", " << n << " threads";
      }
    }
  }
  set_isa(isa);
  set_num_threads(threads);
}

TEST(MoreOptimizers, GoOnFromSavedStateBitForBit) {
  for (const auto& [name, make] : kMakers) {
    SCOPED_TRACE(name);
    const std::vector<Tensor> p = some_parameters(9), q = some_parameters(9);
    const auto whole = make(p), first = make(q);
    train_on(*whole, p, 0, 10);
    train_on(*first, q, 0, 5);
    const auto second = make(q);
    NamedArrays state;
    for (const auto& [key, array] : first->state()) state.emplace_back(key, array.clone());
    second->load_state(state);
    train_on(*second, q, 5, 10);
    EXPECT_EQ(all_values(p), all_values(q));
  }
}

TEST(MoreOptimizers, TakeNoMemoryForAStep) {
  for (const auto& [name, make] : kMakers) {
    SCOPED_TRACE(name);
    const std::vector<Tensor> p = some_parameters(1000);
    const auto optimizer = make(p);
    train_on(*optimizer, p, 0, 4);
    some_gradients(p, 4);
    const size_t before = allocated_bytes();
    reset_peak_allocated_bytes();
    optimizer->step();
    EXPECT_EQ(peak_allocated_bytes(), before);
  }
}

TEST(MoreOptimizers, RefuseNumbersThatNoRunHas) {
  const std::vector<Tensor> p = some_parameters(3);
  NAdam nadam(p);
  train_on(nadam, p, 0, 3);
  const auto with = [&](const NDArray& product) {
    NamedArrays state = nadam.state();
    for (auto& [name, array] : state)
      if (name == "0.mu_product") array = product;
    return state;
  };
  EXPECT_THROW(nadam.load_state(with(NDArray::from_vector<double>({NAN}, {}))), ValueError);
  EXPECT_THROW(nadam.load_state(with(NDArray::from_vector<float>({1}, {}))), DTypeError);
  EXPECT_THROW(nadam.load_state(with(NDArray::from_vector<double>({1}))), ShapeError);
  EXPECT_THROW(nadam.load_state(Adam(p).state()), ValueError);
  const std::vector<std::vector<float>> before = all_values(p);
  nadam.load_state(with(NDArray::from_vector<double>({0.5}, {})));
  EXPECT_EQ(all_values(p), before);
}

TEST(MoreOptimizers, RefuseOptionsOutOfRange) {
  const std::vector<Tensor> p = some_parameters(3);
  EXPECT_THAT([&] { RMSprop(p, {.alpha = 1}); }, ThrowsMessage<ValueError>("RMSprop: alpha 1 is not in [0, 1)"));
  EXPECT_THROW(RMSprop(p, {.momentum = -1}), ValueError);
  EXPECT_THROW(RMSprop(p, {.eps = NAN}), ValueError);
  EXPECT_THROW(RMSprop(p, {.lr = -1}), ValueError);
  EXPECT_THROW(Adagrad(p, {.lr_decay = -1}), ValueError);
  EXPECT_THROW(Adagrad(p, {.initial_accumulator_value = INFINITY}), ValueError);
  EXPECT_THROW(NAdam(p, {.beta2 = 1}), ValueError);
  EXPECT_THROW(NAdam(p, {.momentum_decay = -1}), ValueError);
  EXPECT_THROW(Lion(p, {.beta1 = -0.1}), ValueError);
  EXPECT_THROW(Lion(p, {.weight_decay = -1}), ValueError);
  EXPECT_THROW(Lion(std::vector<Tensor>()), ValueError);
  EXPECT_THROW(Adagrad({p[0], p[0]}), ValueError);
}

TEST(MoreOptimizers, HaveGroups) {
  const std::vector<Tensor> together = some_parameters(4), apart = some_parameters(4);
  RMSprop one({{{together[0]}, {.lr = 0.1, .momentum = 0.9}}, {{together[1]}, {.centered = true}}});
  RMSprop first({apart[0]}, {.lr = 0.1, .momentum = 0.9}), second({apart[1]}, {.centered = true});
  for (int i = 0; i < 4; ++i) {
    some_gradients(together, i);
    some_gradients(apart, i);
    one.step();
    first.step();
    second.step();
  }
  EXPECT_EQ(all_values(together), all_values(apart));
}

// The square of the mean may be larger than the mean of squares by rounding; the root is of 0 then, and no NaN.
TEST(MoreOptimizers, CenteredRmspropStaysFiniteForConstantGradients) {
  Tensor p(NDArray::zeros({64}), true);
  RMSprop rmsprop({p}, {.lr = 1e-3, .alpha = 0.5, .centered = true});
  NDArray g({64});
  for (int64_t i = 0; i < 64; ++i) g.data<float>()[i] = 0.1f + 0.37f * static_cast<float>(i);
  p.set_grad(g);
  for (int i = 0; i < 300; ++i) rmsprop.step();
  for (float v : p.data().to_vector<float>()) EXPECT_TRUE(std::isfinite(v));
}

TEST(ClipGradNorm, OfOtherKindsRefusesWhatIsNoNorm) {
  Tensor p(NDArray::ones({2}), true), idle(NDArray::ones({2}), true);
  p.set_grad(NDArray::from_vector<float>({3, -4}));
  EXPECT_THROW(clip_grad_norm({p}, 1, 0.5), ValueError);
  EXPECT_THROW(clip_grad_norm({p}, 1, NAN), ValueError);
  constexpr double kLargest = std::numeric_limits<double>::infinity();
  EXPECT_EQ(clip_grad_norm({p, idle}, 10, kLargest), 4);
  EXPECT_EQ(clip_grad_norm({p, idle}, 10, 1), 7);
  p.set_grad(NDArray::from_vector<float>({3e30f, -4e30f}));
  EXPECT_NEAR(clip_grad_norm({p, idle}, 1e31, 100) / 4e30, 1, 1e-6);  // whose powers leave double
  p.set_grad(NDArray::from_vector<float>({1, NAN}));
  for (double type : {1.0, 3.0, kLargest}) EXPECT_THROW(clip_grad_norm({p}, 1, type), ValueError);
  p.set_grad(NDArray::from_vector<float>({NAN, 1}));
  EXPECT_THROW(clip_grad_norm({p}, 1, kLargest), ValueError);
  p.set_grad(NDArray::zeros({2}));
  EXPECT_EQ(clip_grad_norm({p}, 1, 3), 0);
}

TEST(ClipGradValue, CutsEachElement) {
  Tensor p(NDArray::ones({4}), true), idle(NDArray::ones({2}), true);
  p.set_grad(NDArray::from_vector<float>({3, -0.25f, -INFINITY, 0.5f}));
  clip_grad_value({p, idle}, 0.5);
  EXPECT_EQ(p.grad().data().to_vector<float>(), (std::vector<float>{0.5f, -0.25f, -0.5f, 0.5f}));
  EXPECT_FALSE(idle.grad().defined());
  EXPECT_THROW(clip_grad_value({p}, 0), ValueError);
  Tensor q(NDArray::ones({1}), true);
  q.set_grad(NDArray::full({1}, NAN));
  p.set_grad(NDArray::full({4}, 2));
  EXPECT_THROW(clip_grad_value({p, q}, 1), ValueError);
  EXPECT_EQ(p.grad().data().to_vector<float>()[0], 2);
}

TEST(Schedules, RefuseWhatTheyCannotFollow) {
  EXPECT_THROW(multi_step({3, -1}), ValueError);
  EXPECT_THROW(linear(1, 0, 0), ValueError);
  EXPECT_THROW(cosine_warm_restarts(0), ValueError);
  EXPECT_THROW(cosine_warm_restarts(3, 0), ValueError);
  EXPECT_THROW(one_cycle(0), ValueError);
  EXPECT_THROW(one_cycle(10, {.pct_start = 1.5}), ValueError);
  EXPECT_THROW(one_cycle(10, {.div_factor = 0}), ValueError);
  for (const Schedule& s : {multi_step({3}), exponential(0.9), linear(1, 0, 3), cosine_warm_restarts(3), one_cycle(9)})
    EXPECT_THROW(s(-1), ValueError);
}

TEST(Schedules, HaveAValueForEveryStep) {
  EXPECT_DOUBLE_EQ(one_cycle(10)(9), 1 / 25e4);
  EXPECT_DOUBLE_EQ(one_cycle(10)(1000), 1 / 25e4);
  EXPECT_DOUBLE_EQ(one_cycle(10, {.pct_start = 0.1})(0), 1);  // where PyTorch divides by 0
  EXPECT_DOUBLE_EQ(one_cycle(1)(0), 1 / 25e4);
  EXPECT_DOUBLE_EQ(one_cycle(4, {.pct_start = 1})(3), 1);
  constexpr int64_t kLast = std::numeric_limits<int64_t>::max();
  for (int64_t factor : {1, 2, 1000}) {
    const double value = cosine_warm_restarts(7, factor)(kLast);
    EXPECT_GE(value, 0);
    EXPECT_LE(value, 1);
  }
  EXPECT_DOUBLE_EQ(cosine_warm_restarts(7)(7 * 1000000007LL), 1);
  EXPECT_DOUBLE_EQ(linear(1, 0.5, 10)(kLast), 0.5);
}

TEST(ReduceLROnPlateau, RefusesOptionsAndStatesOutOfRange) {
  SGD sgd(some_parameters(2));
  EXPECT_THROW(ReduceLROnPlateau(sgd, {.factor = 1}), ValueError);
  EXPECT_THROW(ReduceLROnPlateau(sgd, {.patience = -1}), ValueError);
  EXPECT_THROW(ReduceLROnPlateau(sgd, {.cooldown = -1}), ValueError);
  EXPECT_THROW(ReduceLROnPlateau(sgd, {.min_lr = -1}), ValueError);
  ReduceLROnPlateau plateau(sgd, {.patience = 3});
  plateau.step(2);
  EXPECT_EQ(plateau.best(), 2);
  Attributes state = plateau.state();
  state.set("num_bad_epochs", int64_t{4});
  EXPECT_THROW(plateau.load_state(state), ValueError);
  EXPECT_THROW(plateau.load_state({}), FormatError);
  state = plateau.state();
  state.set("best", double{NAN});
  EXPECT_THROW(plateau.load_state(state), ValueError);
  EXPECT_EQ(plateau.best(), 2);
}

TEST(ExponentialMovingAverage, FollowsItsFormula) {
  Tensor p(NDArray::from_vector<float>({1, 2}), true);
  ExponentialMovingAverage ema({p}, {.decay = 0.75});
  p.set_data(NDArray::from_vector<float>({3, 4}));
  ema.update();  // the first takes the values as they are
  p.set_data(NDArray::from_vector<float>({7, 0}));
  ema.update();
  EXPECT_EQ(ema.num_updates(), 2);
  {
    const AveragedWeights guard(ema);
    EXPECT_EQ(p.data().to_vector<float>(), (std::vector<float>{4, 3}));
    EXPECT_THROW(ema.update(), ValueError);
    EXPECT_THROW(AveragedWeights{ema}, ValueError);
    EXPECT_THROW(ema.load_state(ema.state()), ValueError);
    EXPECT_EQ(ema.state()[1].second.to_vector<float>(), (std::vector<float>{4, 3}));
  }
  EXPECT_EQ(p.data().to_vector<float>(), (std::vector<float>{7, 0}));
  EXPECT_EQ(ema.state()[1].second.to_vector<float>(), (std::vector<float>{4, 3}));
  EXPECT_THROW(ExponentialMovingAverage({p}, {.decay = 1}), ValueError);
  EXPECT_THROW(ExponentialMovingAverage({p, p}), ValueError);
  EXPECT_THROW(ExponentialMovingAverage(std::vector<Tensor>()), ValueError);
}

TEST(ExponentialMovingAverage, WhatWasThereBeforeTheFirstUpdateIsGone) {
  const Tensor p(NDArray::full({2}, std::numeric_limits<double>::quiet_NaN()), true);
  ExponentialMovingAverage ema({p}, {.decay = 0.75});
  p.set_data(NDArray::from_vector<float>({3, 4}));
  ema.update();
  EXPECT_EQ(ema.state()[1].second.to_vector<float>(), (std::vector<float>{3, 4}));
}

TEST(ExponentialMovingAverage, GoesOnFromItsState) {
  const std::vector<Tensor> p = some_parameters(5);
  SGD sgd(p, {.lr = 0.1});
  ExponentialMovingAverage whole(p, {.decay = 0.9}), second(p, {.decay = 0.9});
  const auto train = [&](int begin, int end, std::vector<ExponentialMovingAverage*> averages) {
    for (int i = begin; i < end; ++i) {
      train_on(sgd, p, i, i + 1);
      for (ExponentialMovingAverage* average : averages) average->update();
    }
  };
  train(0, 4, {&whole});
  NamedArrays state;
  for (const auto& [name, array] : whole.state()) state.emplace_back(name, array.clone());
  second.load_state(state);
  train(4, 8, {&whole, &second});
  for (size_t i = 0; i < state.size(); ++i)
    EXPECT_EQ(second.state()[i].second.to_vector<float>(), whole.state()[i].second.to_vector<float>());

  NamedArrays wrong = state;
  wrong[0].second = NDArray::from_vector<int64_t>({-1}, {});
  EXPECT_THROW(second.load_state(wrong), ValueError);
  wrong = state;
  wrong.back().second = NDArray::zeros({2});
  EXPECT_THROW(second.load_state(wrong), ShapeError);
  wrong.pop_back();
  EXPECT_THROW(second.load_state(wrong), ValueError);
  EXPECT_EQ(second.num_updates(), 8);
}

// A graph made of the averages shares their memory, which the next update must not write to.
TEST(ExponentialMovingAverage, GraphsOfTheAveragesStayAsTheyWere) {
  nn::Linear layer(3, 2);
  ExponentialMovingAverage ema(layer.parameters(), {.decay = 0.5});
  ema.update();
  const Tensor x = NDArray::from_vector<float>({1, 2, 3}, {1, 3});
  std::unique_ptr<nn::Graph> graph;
  std::vector<float> expected;
  {
    const AveragedWeights guard(ema);
    layer.eval();
    graph = std::make_unique<nn::Graph>(nn::trace(layer, x));
    expected = (*graph)(x).data().to_vector<float>();
    layer.train();
  }
  SGD sgd(layer.parameters(), {.lr = 1});
  for (const Tensor& p : layer.parameters()) p.set_grad(NDArray::ones(p.shape()));
  for (int i = 0; i < 3; ++i) {
    sgd.step();
    ema.update();
  }
  EXPECT_EQ((*graph)(x).data().to_vector<float>(), expected);
  const AveragedWeights guard(ema);
  EXPECT_NE(layer(x).data().to_vector<float>(), expected);
}

}  // namespace
}  // namespace thimble::optim
