#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include <thimble/core/ops.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>
#include <thimble/core/random.h>
#include <thimble/nn/training/optim/optimizer.h>
#include <thimble/nn/training/optim/schedule.h>

namespace thimble::optim {
namespace {

// Three steps on loss = sum(p^3 / 3), gradient p^2, from p = (1, -2, 0.5), learning rate 0.1. The expected values are
// PyTorch 1.13's.
template <typename Optimizer, typename Options>
std::vector<double> three_steps(Options options) {
  Tensor p(NDArray::from_vector<float>({1, -2, 0.5}), true);
  Optimizer optimizer({p}, options);
  for (int i = 0; i < 3; ++i) {
    optimizer.zero_grad();
    p.set_grad(Tensor((p * p).data().clone()));
    optimizer.step();
  }
  return p.data().to_vector<double>();
}

void expect_near(const std::vector<double>& got, const std::vector<double>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(got[i], expected[i], 3e-6 * std::max(1.0, std::abs(expected[i]))) << i;
}

TEST(Optimizers, AgreeWithPyTorch) {
  expect_near(three_steps<SGD>(SGDOptions{.lr = 0.1}), {0.7519239, -3.8616576, 0.4319675});
  expect_near(three_steps<SGD>(SGDOptions{.lr = 0.1, .momentum = 0.9, .dampening = 0.1, .weight_decay = 0.01}),
              {0.5373281, -5.0181441, 0.3744875});
  expect_near(three_steps<SGD>(SGDOptions{.lr = 0.1, .momentum = 0.9, .nesterov = true}),
              {0.4089036, -9.3412542, 0.3291390});
  expect_near(three_steps<Adam>(AdamOptions{.lr = 0.1}), {0.7041539, -2.3004937, 0.2132204});
  expect_near(three_steps<Adam>(AdamOptions{.lr = 0.1, .beta1 = 0.8, .beta2 = 0.99, .weight_decay = 0.1}),
              {0.7058520, -2.3014603, 0.2153071});
  expect_near(three_steps<AdamW>(AdamWOptions{.lr = 0.1, .weight_decay = 0.1}), {0.6780910, -2.2380700, 0.2024127});
}

TEST(Optimizers, EveryInstructionSetAndThreadCountGivesTheSameBits) {
  const Isa isa = active_isa();
  const int threads = num_threads();
  Generator generator(1);
  const NDArray start = randn({40001}, generator), gradient = randn({40001}, generator);
  std::vector<float> expected;
  for (Isa use : available_isas()) {
    set_isa(use);
    for (int n : {1, 2, 3}) {
      set_num_threads(n);
      Tensor p(start.clone(), true);
      AdamW adam({p}, {.lr = 0.01, .weight_decay = 0.1});
      for (int i = 0; i < 3; ++i) {
        p.set_grad(gradient);
        adam.step();
      }
      const auto got = p.data().to_vector<float>();
      if (expected.empty()) expected = got;
      EXPECT_EQ(got, expected) << name(use) << ", " << n << " threads";
    }
  }
  set_isa(isa);
  set_num_threads(threads);
}

TEST(Optimizers, SkipParametersWithoutGradient) {
  Tensor used(NDArray::ones({2}), true), unused(NDArray::ones({2}), true);
  SGD sgd({used, unused}, {.lr = 1});
  used.set_grad(NDArray::ones({2}));
  sgd.step();
  EXPECT_EQ(used.data().to_vector<float>(), (std::vector<float>{0, 0}));
  EXPECT_EQ(unused.data().to_vector<float>(), (std::vector<float>{1, 1}));
}

TEST(Optimizers, GoOnFromSavedStateBitForBit) {
  auto grads = [](Tensor& p, int i) { p.set_grad(NDArray::full({3}, 0.1 * i - 0.3)); };
  Tensor p(NDArray::ones({3}), true);
  Adam whole({p}, {});
  Tensor q(NDArray::ones({3}), true);
  Adam first({q}, {});
  for (int i = 0; i < 10; ++i) {
    grads(p, i);
    whole.step();
  }
  for (int i = 0; i < 5; ++i) {
    grads(q, i);
    first.step();
  }
  Adam second({q}, {});
  second.load_state(first.state());
  for (int i = 5; i < 10; ++i) {
    grads(q, i);
    second.step();
  }
  EXPECT_EQ(p.data().to_vector<float>(), q.data().to_vector<float>());
  EXPECT_THROW(second.load_state({}), ValueError);
}

TEST(Optimizers, RejectImpossibleOptions) {
  Tensor p(NDArray::ones({3}), true);
  EXPECT_THROW(SGD({}, {}), ValueError);
  EXPECT_THROW(SGD({p}, {.lr = -1}), ValueError);
  EXPECT_THROW(SGD({p}, {.nesterov = true}), ValueError);
  EXPECT_THROW(Adam({p}, {.beta1 = 1}), ValueError);
  EXPECT_THROW(Adam({p}, {.weight_decay = -1}), ValueError);
  EXPECT_THROW(Adam({Tensor(NDArray::ones({3}, DType::float64), true)}, {}), DTypeError);
}

TEST(ClipGradNorm, ScalesOnlyWhatIsTooLong) {
  Tensor p(NDArray::ones({1}), true), q(NDArray::ones({1}), true);
  p.set_grad(NDArray::full({1}, 3));
  q.set_grad(NDArray::full({1}, 4));
  EXPECT_DOUBLE_EQ(clip_grad_norm({p, q}, 10), 5);
  EXPECT_EQ(p.grad().item<float>(), 3);
  EXPECT_DOUBLE_EQ(clip_grad_norm({p, q}, 1), 5);
  EXPECT_FLOAT_EQ(p.grad().item<float>(), 0.6f);
  EXPECT_FLOAT_EQ(q.grad().item<float>(), 0.8f);
  EXPECT_THROW(clip_grad_norm({p}, 0), ValueError);
  p.set_grad(NDArray::full({1}, NAN));
  EXPECT_THROW(clip_grad_norm({p}, 1), ValueError);
}

TEST(Schedules, FollowTheirFormulas) {
  EXPECT_EQ(constant()(12345), 1);
  EXPECT_DOUBLE_EQ(step(10, 0.5)(9), 1);
  EXPECT_DOUBLE_EQ(step(10, 0.5)(25), 0.25);
  EXPECT_DOUBLE_EQ(cosine(100)(0), 1);
  EXPECT_NEAR(cosine(100, 0.1)(50), 0.55, 1e-12);
  EXPECT_NEAR(cosine(100, 0.1)(1000), 0.1, 1e-12);
  const Schedule s = warmup(3, cosine(10));
  EXPECT_DOUBLE_EQ(s(0), 0.25);
  EXPECT_DOUBLE_EQ(s(2), 0.75);
  EXPECT_DOUBLE_EQ(s(3), 1);
  EXPECT_DOUBLE_EQ(s(8), cosine(10)(5));
  EXPECT_THROW(step(0), ValueError);
  EXPECT_THROW(cosine(0), ValueError);
  EXPECT_THROW(warmup(-1), ValueError);
}

TEST(Optimizers, CountStepsOfEachParameter) {
  // As in PyTorch: a parameter that was without gradient for a while starts its bias correction late.
  Tensor late(NDArray::ones({1}), true), always(NDArray::ones({1}), true), alone(NDArray::ones({1}), true);
  Adam both({always, late}, {}), fresh({alone}, {});
  for (int i = 0; i < 3; ++i) {
    always.set_grad(NDArray::full({1}, 0.5));
    both.step();
  }
  for (int i = 0; i < 2; ++i) {
    for (Tensor p : {late, alone}) p.set_grad(NDArray::full({1}, 0.1 + i));
    both.step();
    fresh.step();
  }
  EXPECT_EQ(late.item<float>(), alone.item<float>());
}

TEST(Optimizers, RejectWhatDoesNotFitAndChangeNothing) {
  Tensor p(NDArray::ones({3}), true);
  EXPECT_THROW(SGD({p, p}, {}), ValueError);
  Adam adam({p}, {});
  EXPECT_THROW(adam.set_lr(-1), ValueError);
  EXPECT_THROW(adam.set_lr(NAN), ValueError);
  EXPECT_EQ(adam.lr(), 1e-3);
  auto state = adam.state();
  state[0].second = NDArray::full({}, 5, DType::int64);
  state[2].second = NDArray::ones({3}, DType::float64);
  EXPECT_THROW(adam.load_state(state), DTypeError);
  EXPECT_EQ(adam.state()[0].second.item<int64_t>(), 0);
}

TEST(Optimizers, AdamsFirstStepIsTheLearningRateForAnyBeta) {
  for (double beta2 : {0.9, 0.999, 0.999999, 0.99999999}) {
    Tensor p(NDArray::zeros({1}), true);
    p.set_grad(NDArray::ones({1}));
    Adam({p}, {.lr = 1, .beta2 = beta2}).step();
    EXPECT_NEAR(p.item<float>(), -1, 1e-6) << beta2;
  }
}

TEST(Optimizers, AdamWDecaysByDefaultAsInPyTorch) {
  Tensor p(NDArray::ones({1}), true);
  p.set_grad(NDArray::zeros({1}));
  AdamW({p}, {.lr = 0.1}).step();
  EXPECT_FLOAT_EQ(p.item<float>(), 1 - 0.1f * 0.01f);
}

TEST(Optimizers, RefuseNumbersThatAreNone) {
  Tensor p(NDArray::ones({1}), true);
  EXPECT_THROW(SGD({p}, {.momentum = INFINITY}), ValueError);
  EXPECT_THROW(SGD({p}, {.dampening = NAN}), ValueError);
  Adam adam({p}, {});
  auto state = adam.state();
  state[0].second = NDArray::full({}, -1, DType::int64);
  EXPECT_THROW(adam.load_state(state), ValueError);
  EXPECT_THROW(cosine(10)(-1), ValueError);
  EXPECT_THROW(step(10)(-1), ValueError);
}

TEST(Optimizers, StepsBetweenForwardAndBackwardAreAnError) {
  const Tensor w(NDArray::full({1}, 2), true), v(NDArray::full({1}, 3), true);
  SGD sgd({v}, {.lr = 1});
  const Tensor y = sum(w * v);
  y.backward({.retain_graph = true});
  sgd.step();
  w.set_grad(Tensor());
  EXPECT_THROW(y.backward(), ValueError);
  EXPECT_FALSE(w.grad().defined());
}

// A discriminator that learns while the generator's graph waits, as long as that graph does not read it.
TEST(Optimizers, OfTwoModelsThatTakeTurnsStepInBetween) {
  const Tensor generator(NDArray::full({2}, 0.5), true), discriminator(NDArray::full({2}, 0.25), true);
  SGD g({generator}, {.lr = 0.1}), d({discriminator}, {.lr = 0.1});
  for (int i = 0; i < 3; ++i) {
    const Tensor fake = tanh(generator);
    d.zero_grad();
    sum(discriminator * fake.detach()).backward();
    d.step();
    g.zero_grad();
    sum(discriminator * fake).backward();
    g.step();
  }
  EXPECT_NE(generator.data().to_vector<float>()[0], 0.5f);
}

TEST(Optimizers, AccumulateGradientsOverSeveralGraphs) {
  const Tensor w(NDArray::full({1}, 3), true);
  SGD sgd({w}, {.lr = 0.5});
  const Tensor first = sum(w * w), second = sum(w * w);
  first.backward();
  second.backward();
  sgd.step();
  EXPECT_EQ(w.item<float>(), 3 - 0.5f * 12);
}

std::vector<Tensor> three_parameters() {
  std::vector<Tensor> all;
  Generator generator(4);
  for (int64_t n : {3, 5, 2}) all.emplace_back(randn({n}, generator), true);
  return all;
}

void set_gradients(const std::vector<Tensor>& parameters, int step) {
  for (const Tensor& p : parameters) p.set_grad(Tensor((p * (0.3 + 0.1 * step)).data().clone()));
}

std::vector<std::vector<float>> values_of(const std::vector<Tensor>& parameters) {
  std::vector<std::vector<float>> values;
  for (const Tensor& p : parameters) values.push_back(p.data().to_vector<float>());
  return values;
}

// Groups in one optimizer do what optimizers of their own do.
template <typename Optimizer, typename Options>
void expect_groups_are_optimizers(Options a, Options b) {
  const std::vector<Tensor> together = three_parameters(), apart = three_parameters();
  Optimizer one({{{together[0], together[1]}, a}, {{together[2]}, b}});
  Optimizer first({apart[0], apart[1]}, a), second({apart[2]}, b);
  EXPECT_EQ(one.lrs(), (std::vector<double>{a.lr, b.lr}));
  for (int i = 0; i < 4; ++i) {
    set_gradients(together, i);
    set_gradients(apart, i);
    one.step();
    first.step();
    second.step();
  }
  EXPECT_EQ(values_of(together), values_of(apart));
}

TEST(ParamGroups, DoWhatOptimizersOfTheirOwnDo) {
  expect_groups_are_optimizers<SGD>(SGDOptions{.lr = 0.1},
                                    SGDOptions{.lr = 0.02, .momentum = 0.9, .weight_decay = 0.1, .nesterov = true});
  expect_groups_are_optimizers<Adam>(AdamOptions{.lr = 0.1, .weight_decay = 0.1},
                                     AdamOptions{.lr = 0.01, .beta1 = 0.5, .beta2 = 0.9, .eps = 1e-3});
  expect_groups_are_optimizers<AdamW>(AdamWOptions{.lr = 0.1}, AdamWOptions{.lr = 0.01, .weight_decay = 0});
}

TEST(ParamGroups, AreWrittenInBraces) {
  const std::vector<Tensor> p = three_parameters();
  SGD sgd({{{p[0]}, {.lr = 1e-3}}, {{p[1], p[2]}, {.lr = 1e-2, .momentum = 0.9}}});
  EXPECT_EQ(sgd.lrs(), (std::vector<double>{1e-3, 1e-2}));
  AdamW adamw({{p, {.lr = 0.5}}});
  EXPECT_EQ(adamw.lr(), 0.5);
}

TEST(ParamGroups, FollowASchedule) {
  const std::vector<Tensor> p = three_parameters();
  SGD sgd({{{p[0]}, {.lr = 0.5}}, {{p[1]}, {.lr = 0.125}}, {{p[2]}, {.lr = 0}}});
  const Schedule schedule = cosine(4);
  for (int64_t t : {0, 1, 3, 4, 2}) {  // through 0 and back
    sgd.set_lr(0.5 * schedule(t));
    EXPECT_EQ(sgd.lr(), 0.5 * schedule(t));
    EXPECT_DOUBLE_EQ(sgd.lrs()[1], 0.125 * schedule(t));
    EXPECT_EQ(sgd.lrs()[2], 0);
  }
  sgd.set_lrs({0.5, 1, 2});
  sgd.set_lr(0.25);
  EXPECT_EQ(sgd.lrs(), (std::vector<double>{0.25, 0.5, 1}));
  sgd.set_lrs({0, 1, 2});
  EXPECT_THROW(sgd.set_lr(0.1), ValueError);
  EXPECT_THROW(sgd.set_lrs({0.1, 0.2}), ValueError);
  EXPECT_THROW(sgd.set_lrs({0.1, 0.2, -1}), ValueError);
  EXPECT_EQ(sgd.lrs(), (std::vector<double>{0, 1, 2}));
}

TEST(ParamGroups, GoOnFromSavedStateBitForBit) {
  const auto make = [](const std::vector<Tensor>& own) {
    return SGD({{{own[0], own[1]}, {.lr = 0.1}}, {{own[2]}, {.lr = 0.02, .momentum = 0.9}}});
  };
  const std::vector<Tensor> p = three_parameters(), q = three_parameters();
  SGD whole = make(p), first = make(q);
  const auto steps = [](SGD& sgd, const std::vector<Tensor>& parameters, int begin, int end) {
    for (int i = begin; i < end; ++i) {
      sgd.set_lr(0.1 / (i + 1));
      set_gradients(parameters, i);
      sgd.step();
    }
  };
  steps(whole, p, 0, 8);
  steps(first, q, 0, 4);
  SGD second({{{q[0], q[1]}, {.lr = 7}}, {{q[2]}, {.lr = 7, .momentum = 0.9}}});  // whose rates are the state's then
  second.load_state(first.state());
  EXPECT_EQ(second.lrs(), first.lrs());
  steps(second, q, 4, 8);
  EXPECT_EQ(values_of(p), values_of(q));
}

TEST(ParamGroups, RefuseStatesOfOthersAndChangeNothing) {
  const std::vector<Tensor> p = three_parameters();
  SGD sgd({{{p[0], p[1]}, {.lr = 0.1}}, {{p[2]}, {.lr = 0.2}}});
  const auto with = [&](const std::string& name, const NDArray& array) {
    auto state = sgd.state();
    for (auto& [own, value] : state)
      if (own == name) value = array;
    return state;
  };
  EXPECT_THROW(sgd.load_state(SGD(p, {}).state()), ValueError);
  EXPECT_THROW(SGD(p, {}).load_state(sgd.state()), ValueError);
  EXPECT_THROW(sgd.load_state(SGD({{{p[0]}, {}}, {{p[1], p[2]}, {}}}).state()), ValueError);
  EXPECT_THROW(sgd.load_state(with("lr", NDArray::from_vector<double>({0.1, -1}))), ValueError);
  EXPECT_THROW(sgd.load_state(with("initial_lr", NDArray::from_vector<double>({0.1, NAN}))), ValueError);
  EXPECT_THROW(sgd.load_state(with("lr", NDArray::from_vector<double>({0.1}))), ShapeError);
  EXPECT_EQ(sgd.lrs(), (std::vector<double>{0.1, 0.2}));
  EXPECT_THROW((SGD({{{p[0]}, {}}, {{p[0]}, {}}})), ValueError);
  EXPECT_THROW((SGD({{{p[0]}, {}}, {std::vector<Tensor>(), {}}})), ValueError);
  EXPECT_THROW((SGD({{{p[0]}, {}}, {{p[1]}, {.momentum = -1}}})), ValueError);
  EXPECT_THROW((SGD(std::vector<ParamGroup<SGDOptions>>{})), ValueError);
}

}  // namespace
}  // namespace thimble::optim
