// Optimizers, schedules and clipping compared with PyTorch.
#include <cmath>
#include <fstream>
#include <limits>
#include <memory>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <thimble/nn/training/optim/adagrad.h>
#include <thimble/nn/training/optim/clip_grad.h>
#include <thimble/nn/training/optim/lion.h>
#include <thimble/nn/training/optim/nadam.h>
#include <thimble/nn/training/optim/optimizer.h>
#include <thimble/nn/training/optim/reduce_lr_on_plateau.h>
#include <thimble/nn/training/optim/rmsprop.h>
#include <thimble/nn/training/optim/schedule.h>

namespace thimble::optim {
namespace {

using nlohmann::json;

json training_cases() {
  std::ifstream file(THIMBLE_TEST_DATA "/torch_training_cases.json");
  return json::parse(file);
}

NDArray floats_of(const json& list) { return NDArray::from_vector(list.get<std::vector<float>>()); }

std::unique_ptr<Optimizer> made_as_in(const json& c, const Tensor& p) {
  const std::string name = c.at("name").get<std::string>();
  const json& o = c.at("options");
  const auto number = [&](const char* key, double missing) { return o.value(key, missing); };
  if (name == "Adam")
    return std::make_unique<Adam>(
        std::vector{p}, AdamOptions{number("lr", 1e-3), number("beta1", 0.9), number("beta2", 0.999),
                                    number("eps", 1e-8), number("weight_decay", 0), o.value("amsgrad", false)});
  if (name == "AdamW")
    return std::make_unique<AdamW>(
        std::vector{p}, AdamWOptions{number("lr", 1e-3), number("beta1", 0.9), number("beta2", 0.999),
                                     number("eps", 1e-8), number("weight_decay", 0.01), o.value("amsgrad", false)});
  if (name == "RMSprop") {
    const RMSpropOptions d;
    return std::make_unique<RMSprop>(
        std::vector{p}, RMSpropOptions{number("lr", d.lr), number("alpha", d.alpha), number("eps", d.eps),
                                       number("weight_decay", d.weight_decay), number("momentum", d.momentum),
                                       o.value("centered", d.centered)});
  }
  if (name == "Adagrad") {
    const AdagradOptions d;
    return std::make_unique<Adagrad>(
        std::vector{p},
        AdagradOptions{number("lr", d.lr), number("lr_decay", d.lr_decay), number("weight_decay", d.weight_decay),
                       number("initial_accumulator_value", d.initial_accumulator_value), number("eps", d.eps)});
  }
  if (name == "NAdam") {
    const NAdamOptions d;
    return std::make_unique<NAdam>(
        std::vector{p},
        NAdamOptions{number("lr", d.lr), number("beta1", d.beta1), number("beta2", d.beta2), number("eps", d.eps),
                     number("weight_decay", d.weight_decay), number("momentum_decay", d.momentum_decay)});
  }
  const LionOptions d;
  return std::make_unique<Lion>(std::vector{p},
                                LionOptions{number("lr", d.lr), number("beta1", d.beta1), number("beta2", d.beta2),
                                            number("weight_decay", d.weight_decay)});
}

TEST(TorchTraining, OptimizersTakeTheSameSteps) {
  const json cases = training_cases();
  ASSERT_GE(cases.at("optimizers").size(), 14u);
  for (const json& c : cases.at("optimizers")) {
    SCOPED_TRACE(c.at("name").get<std::string>() + ' ' + c.at("options").dump());
    Tensor p(floats_of(cases.at("start")), true);
    const auto optimizer = made_as_in(c, p);
    for (size_t step = 0; step < c.at("values").size(); ++step) {
      p.set_grad(floats_of(cases.at("gradients").at(step)));
      optimizer->step();
      const auto got = p.data().to_vector<double>(), expected = c.at("values").at(step).get<std::vector<double>>();
      ASSERT_EQ(got.size(), expected.size());
      for (size_t i = 0; i < got.size(); ++i)
        EXPECT_NEAR(got[i], expected[i], 3e-6 * (1 + std::abs(expected[i]))) << "step " << step << ", element " << i;
    }
  }
}

Schedule schedule_of(const json& c) {
  const std::string name = c.at("name").get<std::string>();
  const json& o = c.at("options");
  if (name == "multi_step")
    return multi_step(o.at("milestones").get<std::vector<int64_t>>(), o.at("gamma").get<double>());
  if (name == "exponential") return exponential(o.at("gamma").get<double>());
  if (name == "linear")
    return linear(o.at("first").get<double>(), o.at("last").get<double>(), o.at("total").get<int64_t>());
  if (name == "cosine_warm_restarts")
    return cosine_warm_restarts(o.at("period").get<int64_t>(), o.at("factor").get<int64_t>(),
                                o.at("least").get<double>());
  const OneCycleOptions d;
  return one_cycle(o.at("total").get<int64_t>(),
                   {o.value("pct_start", d.pct_start), o.value("div_factor", d.div_factor),
                    o.value("final_div_factor", d.final_div_factor)});
}

TEST(TorchTraining, SchedulesHaveTheSameRates) {
  const json cases = training_cases().at("schedules");
  ASSERT_GE(cases.size(), 9u);
  for (const json& c : cases) {
    SCOPED_TRACE(c.at("name").get<std::string>() + ' ' + c.at("options").dump());
    const Schedule schedule = schedule_of(c);
    const auto expected = c.at("factors").get<std::vector<double>>();
    for (size_t t = 0; t < expected.size(); ++t)
      EXPECT_NEAR(schedule(static_cast<int64_t>(t)), expected[t], 1e-12) << "step " << t;
  }
}

ReduceLROnPlateauOptions plateau_options(const json& o) {
  using O = ReduceLROnPlateauOptions;
  O options;
  if (o.value("mode", "min") == "max") options.mode = O::Mode::max;
  if (o.value("threshold_mode", "rel") == "abs") options.threshold_mode = O::ThresholdMode::abs;
  options.factor = o.value("factor", options.factor);
  options.patience = o.value("patience", options.patience);
  options.threshold = o.value("threshold", options.threshold);
  options.cooldown = o.value("cooldown", options.cooldown);
  options.min_lr = o.value("min_lr", options.min_lr);
  options.eps = o.value("eps", options.eps);
  return options;
}

// Half of the metrics, then the rest from a saved state.
TEST(TorchTraining, PlateausAreFoundAtTheSameMetrics) {
  const json cases = training_cases();
  ASSERT_GE(cases.at("plateaus").size(), 4u);
  for (const json& c : cases.at("plateaus")) {
    SCOPED_TRACE(c.at("options").dump());
    SGD sgd({{{Tensor(NDArray::zeros({1}), true)}, {.lr = 1}}, {{Tensor(NDArray::zeros({1}), true)}, {.lr = 0.01}}});
    const ReduceLROnPlateauOptions options = plateau_options(c.at("options"));
    auto plateau = std::make_unique<ReduceLROnPlateau>(sgd, options);
    std::vector<double> before = sgd.lrs();
    for (size_t i = 0; i < cases.at("metrics").size(); ++i) {
      const json& m = cases.at("metrics").at(i);
      const double metric = m.is_null() ? NAN : m.get<double>();
      const bool reduced = plateau->step(options.mode == ReduceLROnPlateauOptions::Mode::max ? -metric : metric);
      const auto expected = c.at("rates").at(i).get<std::vector<double>>();
      for (size_t g = 0; g < expected.size(); ++g) EXPECT_DOUBLE_EQ(sgd.lrs()[g], expected[g]) << i;
      EXPECT_EQ(reduced, sgd.lrs() != before) << i;
      before = sgd.lrs();
      const Attributes state = plateau->state();
      plateau = std::make_unique<ReduceLROnPlateau>(sgd, options);
      plateau->load_state(state);
    }
  }
}

TEST(TorchTraining, GradientsAreClippedAlike) {
  const json cases = training_cases().at("clips");
  ASSERT_GE(cases.size(), 5u);
  for (const json& c : cases) {
    const std::string type = c.at("norm_type").get<std::string>();
    SCOPED_TRACE(type);
    std::vector<Tensor> parameters;
    for (const json& g : c.at("gradients")) {
      parameters.emplace_back(NDArray::zeros({static_cast<int64_t>(g.size())}), true);
      parameters.back().set_grad(floats_of(g));
    }
    EXPECT_NEAR(clip_grad_norm(parameters, c.at("max_norm").get<double>(), std::stod(type)), c.at("norm").get<double>(),
                1e-5);
    for (size_t i = 0; i < parameters.size(); ++i) {
      const auto got = parameters[i].grad().data().to_vector<double>();
      const auto expected = c.at("clipped").at(i).get<std::vector<double>>();
      for (size_t j = 0; j < got.size(); ++j) EXPECT_NEAR(got[j], expected[j], 2e-6);
    }
  }
}

}  // namespace
}  // namespace thimble::optim
