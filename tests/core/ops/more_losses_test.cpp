// Losses beside cross entropy of indices and mse_loss: PyTorch's values, differences, what is large and what is
// refused.
#include <cmath>
#include <fstream>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/core/special_values.h"
#include "tests/core/views.h"
#include <thimble/core/autocast.h>
#include <thimble/core/ops/cast.h>
#include <thimble/core/ops/distance.h>
#include <thimble/core/ops/loss.h>
#include <thimble/core/ops/reduce.h>

namespace thimble {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::ThrowsMessage;

NDArray loss_array(const json& j) {
  return NDArray::from_vector(j.at("values").get<std::vector<double>>(),
                              Shape(j.at("shape").get<std::vector<int64_t>>()));
}

// One of torch_loss_cases.json.
struct LossCase {
  explicit LossCase(const json& j)
      : op(j.at("op").get<std::string>()),
        options(j.at("options")),
        reduction(reduction_from_name(options.at("reduction").get<std::string>())),
        weight(tensor_option(j, "weight")),
        pos_weight(tensor_option(j, "pos_weight")) {
    for (const json& input : j.at("inputs")) {
      const bool is_differentiable = inputs.size() < j.at("grads").size();
      inputs.emplace_back(loss_array(input), is_differentiable);
      if (is_differentiable) differentiable.push_back(inputs.back());
    }
    const bool are_classes = (op == "cross_entropy" && differentiable.size() == 1) || op == "multi_margin_loss";
    if (are_classes) inputs[1] = Tensor(inputs[1].data().to(DType::int64));
  }

  static Tensor tensor_option(const json& j, const char* name) {
    return j.at("tensors").contains(name) ? Tensor(loss_array(j.at("tensors").at(name))) : Tensor();
  }

  double number(const char* name, double missing) const { return options.value(name, missing); }

  Tensor run(const std::vector<Tensor>& in) const {
    if (op == "cross_entropy")
      return cross_entropy(
          in[0], in[1], {reduction, number("label_smoothing", 0), options.value("ignore_index", kIgnoreIndex), weight});
    if (op == "l1_loss") return l1_loss(in[0], in[1], reduction);
    if (op == "smooth_l1_loss") return smooth_l1_loss(in[0], in[1], reduction, number("beta", 1));
    if (op == "huber_loss") return huber_loss(in[0], in[1], reduction, number("delta", 1));
    if (op == "binary_cross_entropy") return binary_cross_entropy(in[0], in[1], {reduction, weight});
    if (op == "binary_cross_entropy_with_logits")
      return binary_cross_entropy_with_logits(in[0], in[1], {reduction, weight, pos_weight});
    if (op == "kl_div") return kl_div(in[0], in[1], reduction, options.value("log_target", false));
    if (op == "hinge_embedding_loss") return hinge_embedding_loss(in[0], in[1], number("margin", 1), reduction);
    if (op == "multi_margin_loss")
      return multi_margin_loss(in[0], in[1], {options.value("p", int64_t{1}), number("margin", 1), weight, reduction});
    if (op == "triplet_margin_loss")
      return triplet_margin_loss(
          in[0], in[1], in[2],
          {number("margin", 1), number("p", 2), number("eps", 1e-6), options.value("swap", false), reduction});
    if (op == "cosine_embedding_loss")
      return cosine_embedding_loss(in[0], in[1], in[2], number("margin", 0), reduction);
    throw ValueError("unknown loss " + op);
  }

  std::string op;
  json options;
  Reduction reduction;
  Tensor weight, pos_weight;
  std::vector<Tensor> inputs, differentiable;
};

json loss_cases() {
  std::ifstream file(THIMBLE_TEST_DATA "/torch_loss_cases.json");
  return json::parse(file).at("cases");
}

TEST(MoreLosses, AgreeWithPyTorch) {
  const json cases = loss_cases();
  ASSERT_GE(cases.size(), 90u);
  for (const json& j : cases) {
    SCOPED_TRACE(j.at("op").get<std::string>() + ' ' + j.at("options").dump());
    const LossCase c(j);
    const Tensor y = c.run(c.inputs);
    expect_close(y.data(), loss_array(j.at("output")), 1e-12);
    const auto grads = grad(y, c.differentiable, Tensor(loss_array(j.at("out_grad"))));
    for (size_t i = 0; i < grads.size(); ++i) expect_close(grads[i].data(), loss_array(j.at("grads").at(i)), 1e-12);
  }
}

// Cases of numbers that differences cannot be taken at: logarithms at 0, logits of 900 beside 0, vectors of which
// nothing but eps is between.
bool has_differences(const LossCase& c) {
  if (c.inputs[0].data().to_vector<double>() == c.inputs[1].data().to_vector<double>()) return false;
  for (double v : c.inputs[0].data().to_vector<double>())
    if (std::abs(v) > 100 || (c.op == "binary_cross_entropy" && (v < 1e-3 || v > 0.999))) return false;
  return true;
}

TEST(MoreLosses, GradientsAgreeWithDifferences) {
  int checked = 0;
  for (const json& j : loss_cases()) {
    SCOPED_TRACE(j.at("op").get<std::string>() + ' ' + j.at("options").dump());
    const LossCase c(j);
    if (!has_differences(c)) continue;
    std::vector<NDArray> arrays;
    for (const Tensor& x : c.differentiable) arrays.push_back(x.data());
    const auto loss = [&](const std::vector<Tensor>& given) {
      std::vector<Tensor> in = c.inputs;
      std::copy(given.begin(), given.end(), in.begin());
      return c.run(in);
    };
    EXPECT_NO_THROW(check_gradients(loss, arrays));
    ++checked;
  }
  EXPECT_GE(checked, 80);
}

TEST(MoreLosses, GradientsOfTargetsAgreeWithDifferences) {
  Generator generator(1);
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{3, 4}, Shape{2, 1, 3}})
    for (const NDArray& layout : randn_layouts(shape, generator)) {
      const NDArray p = sigmoid(layout).data();
      for (Reduction r : {Reduction::none, Reduction::mean, Reduction::sum})
        check_gradients([&](const auto& t) { return binary_cross_entropy(t[0], t[1], {r}); },
                        {p, sigmoid(randn_view(shape, generator)).data()});
    }
  const NDArray weight = NDArray::from_vector<double>({0.5, 2, 1});
  check_gradients(
      [](const auto& t) {
        return cross_entropy(t[0], NDArray::from_vector<int64_t>({2, 0, 1, 2}),
                             {.label_smoothing = 0.2, .weight = t[1]});
      },
      {randn({4, 3}, generator, DType::float64), weight});
  check_gradients(
      [](const auto& t) { return binary_cross_entropy_with_logits(t[0], t[1], {.pos_weight = t[2]}); },
      {randn({4, 3}, generator, DType::float64), sigmoid(randn({4, 3}, generator, DType::float64)).data(), weight});
}

TEST(MoreLosses, ShapesWithoutElementsGiveNothing) {
  const NDArray none({0, 3}, DType::float64), no_vectors({0}, DType::float64);
  for (Reduction r : {Reduction::none, Reduction::mean, Reduction::sum}) {
    const std::vector<Tensor> losses = {l1_loss(none, none, r),
                                        smooth_l1_loss(none, none, r),
                                        huber_loss(none, none, r),
                                        binary_cross_entropy(none, none, {r}),
                                        binary_cross_entropy_with_logits(none, none, {r}),
                                        kl_div(none, none, r),
                                        hinge_embedding_loss(none, none, 1, r),
                                        multi_margin_loss(none, NDArray({0}, DType::int64), {.reduction = r}),
                                        triplet_margin_loss(none, none, none, {.reduction = r}),
                                        cosine_embedding_loss(none, none, no_vectors, 0, r),
                                        cross_entropy(none, none, {r})};
    for (const Tensor& loss : losses) {
      if (r == Reduction::none) {
        EXPECT_EQ(loss.numel(), 0);
      } else if (r == Reduction::sum) {
        EXPECT_EQ(loss.item<double>(), 0);
      } else {
        EXPECT_TRUE(std::isnan(loss.item<double>()));
      }
    }
  }
}

TEST(MoreLosses, KeepTheirDigitsForLargeLogits) {
  const Tensor x(NDArray::from_vector<float>({1e4f, -1e4f, 1e4f, -1e4f, 40, -40, 0}), true);
  const Tensor t = NDArray::from_vector<float>({1, 0, 0, 1, 1, 0, 1});
  const Tensor loss = binary_cross_entropy_with_logits(x, t, {Reduction::none});
  const std::vector<double> expected = {0, 0, 1e4, 1e4, std::exp(-40.0), std::exp(-40.0), std::log(2.0)};
  const auto got = loss.data().to_vector<double>();
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-6 * expected[i]) << i;
  const auto g = grad(sum(loss), {x})[0].data().to_vector<double>();
  const std::vector<double> slopes = {0, 0, 1, -1, -std::exp(-40.0), std::exp(-40.0), -0.5};
  for (size_t i = 0; i < slopes.size(); ++i) EXPECT_NEAR(g[i], slopes[i], 1e-6 * std::abs(slopes[i])) << i;

  const Tensor y(NDArray::from_vector<float>({1e4f, 1e4f + 1, -1e4f}, {1, 3}), true);
  const Tensor p = NDArray::from_vector<float>({0.25f, 0.75f, 0}, {1, 3});
  EXPECT_NEAR(cross_entropy(y, p).item<float>(), std::log(1 + std::exp(1.0)) - 0.75, 1e-5);
  for (double v : {1e15, 1e18}) {
    const NDArray a = NDArray::full({2, 3}, v), b = NDArray::full({2, 3}, -v);
    EXPECT_NEAR(cosine_embedding_loss(a, b, NDArray::ones({2})).item<float>(), 2, 1e-6);
    EXPECT_EQ(huber_loss(a, b).item<float>(), static_cast<float>(2 * v));
  }
}

TEST(MoreLosses, WhatIsNotExpectedCostsNothingThoughItIsImpossible) {
  const Tensor x(NDArray::from_vector<double>({0, -kInf, 1}, {1, 3}), true);
  const Tensor p = NDArray::from_vector<double>({1, 0, 0}, {1, 3});
  const Tensor loss = cross_entropy(x, p);
  EXPECT_NEAR(loss.item<double>(), 1.3132616875, 1e-9);
  const auto g = grad(loss, {x})[0].data().to_vector<double>();
  EXPECT_NEAR(g[0], -0.7310585786, 1e-9);
  EXPECT_EQ(g[1], 0);
  EXPECT_EQ(cross_entropy(x, p, {.label_smoothing = 0.1}).item<double>(), kInf);
  const Tensor log_p = log_softmax(x, 1);
  EXPECT_NEAR(kl_div(log_p, p, Reduction::sum).item<double>(), 1.3132616875, 1e-9);
  const Tensor log_target = NDArray::from_vector<double>({0, -kInf, -kInf}, {1, 3});
  const Tensor divergence = kl_div(log_p, log_target, Reduction::sum, true);
  EXPECT_NEAR(divergence.item<double>(), 1.3132616875, 1e-9);
  EXPECT_EQ(grad(divergence, {x})[0].data().to_vector<double>()[1], 0);
}

// A target of 0 has the gradient that others have.
TEST(MoreLosses, GradientsFlowToTargetsOfZero) {
  const Tensor x = NDArray::from_vector<double>({0.5, -1, 2}, {1, 3});
  check_gradients([&](const auto& t) { return cross_entropy(x, t[0]); },
                  {NDArray::from_vector<double>({0, 0.25, 0}, {1, 3})});
  const Tensor impossible = NDArray::from_vector<double>({0, -kInf}, {1, 2});
  const Tensor p(NDArray::from_vector<double>({1, 0}, {1, 2}), true), log_p(log(p).data(), true);
  for (const Tensor& y : {grad(kl_div(impossible, p, Reduction::sum), {p})[0],
                          grad(kl_div(impossible, log_p, Reduction::sum, true), {log_p})[0]})
    for (double g : y.data().to_vector<double>()) EXPECT_TRUE(std::isfinite(g));
}

TEST(MoreLosses, AreInFloat32InMixedPrecision) {
  Generator generator(2);
  const NDArray x = randn({4, 3}, generator), y = randn({4, 3}, generator), p = softmax(y, 1).data();
  const NDArray labels = NDArray::from_vector<int64_t>({0, 2, 1, 2}),
                signs = NDArray::from_vector<float>({1, -1, 1, 1});
  const Autocast guard(DType::bfloat16);
  const Tensor h = cast(x, DType::bfloat16), full = cast(h, DType::float32), weight = NDArray::ones({3});
  const std::vector<std::pair<Tensor, Tensor>> cases = {
      {l1_loss(h, y), l1_loss(full, y)},
      {huber_loss(h, y), huber_loss(full, y)},
      {binary_cross_entropy_with_logits(h, p), binary_cross_entropy_with_logits(full, p)},
      {binary_cross_entropy(sigmoid(h), p), binary_cross_entropy(cast(sigmoid(h), DType::float32), p)},
      {cross_entropy(h, p), cross_entropy(full, p)},
      {cross_entropy(h, labels, {.weight = weight}), cross_entropy(full, labels, {.weight = weight})},
      {multi_margin_loss(h, labels), multi_margin_loss(full, labels)},
      {cosine_embedding_loss(h, y, signs), cosine_embedding_loss(full, y, signs)},
      {triplet_margin_loss(h, y, p), triplet_margin_loss(full, y, p)}};
  for (const auto& [half, whole] : cases) {
    EXPECT_EQ(half.dtype(), DType::float32);
    EXPECT_EQ(half.item<float>(), whole.item<float>());
  }
}

template <typename E>
void expect_error(const std::function<void()>& f, const std::string& text) {
  EXPECT_THAT(f, ThrowsMessage<E>(HasSubstr(text)));
}

TEST(MoreLosses, MisuseIsRefused) {
  const NDArray a = NDArray::ones({2, 3}), b = NDArray::ones({3, 2}), d = NDArray::ones({2, 3}, DType::float64),
                labels = NDArray::zeros({2}, DType::int64);
  expect_error<ShapeError>([&] { l1_loss(a, b); }, "l1_loss: input [2,3] and target [3,2] differ");
  expect_error<DTypeError>([&] { huber_loss(a, d); }, "huber_loss: expects input and target of one dtype");
  expect_error<DTypeError>([&] { smooth_l1_loss(labels, labels); }, "smooth_l1_loss");
  expect_error<ValueError>([&] { smooth_l1_loss(a, a, Reduction::mean, -1); }, "beta -1");
  expect_error<ValueError>([&] { huber_loss(a, a, Reduction::mean, 0); }, "delta 0");
  expect_error<ValueError>([&] { binary_cross_entropy(NDArray::full({2}, 1.5), NDArray::ones({2})); },
                           "binary_cross_entropy: input 0 is 1.5");
  expect_error<ValueError>([&] { binary_cross_entropy(NDArray::full({2}, kNaN), NDArray::ones({2})); }, "is nan");
  expect_error<ShapeError>([&] { binary_cross_entropy(a, a, {.weight = b}); }, "weight [3,2] does not broadcast");
  expect_error<DTypeError>([&] { binary_cross_entropy_with_logits(a, a, {.pos_weight = d}); }, "pos_weight must be");
  expect_error<ShapeError>([&] { binary_cross_entropy_with_logits(a, b); }, "binary_cross_entropy_with_logits: input");
  expect_error<ShapeError>([&] { kl_div(a, b); }, "kl_div: input");
  expect_error<ValueError>([&] { hinge_embedding_loss(a, NDArray::zeros({2, 3})); }, "target 0 is 0, expected 1 or -1");
  expect_error<ShapeError>([&] { hinge_embedding_loss(a, b); }, "hinge_embedding_loss: input");
  expect_error<ValueError>([&] { hinge_embedding_loss(a, a, kInf); }, "margin inf is not finite");
  expect_error<ValueError>([&] { multi_margin_loss(a, labels, {.p = 3}); }, "p 3 is neither 1 nor 2");
  expect_error<ValueError>([&] { multi_margin_loss(a, NDArray::full({2}, 3, DType::int64)); }, "3");
  expect_error<ShapeError>([&] { multi_margin_loss(a, NDArray::zeros({3}, DType::int64)); }, "target [n]");
  expect_error<DTypeError>([&] { multi_margin_loss(a, NDArray::zeros({2})); }, "target must be int64");
  expect_error<ShapeError>([&] { multi_margin_loss(a, labels, {.weight = NDArray::ones({2})}); }, "weight must be [3]");
  expect_error<ShapeError>([&] { triplet_margin_loss(a, a, b); }, "negative [3,2] differ");
  expect_error<ValueError>([&] { triplet_margin_loss(a, a, a, {.p = 0.5}); }, "p 0.5 must be at least 1");
  expect_error<ShapeError>([&] { cosine_embedding_loss(a, a, a); }, "expect target [2]");
  expect_error<ValueError>([&] { cosine_embedding_loss(a, a, NDArray::full({2}, 2)); }, "target 0 is 2");
  expect_error<ValueError>([&] { cosine_embedding_loss(a, a, NDArray::ones({2}), 2); }, "margin 2");
  expect_error<ShapeError>([&] { cross_entropy(a, labels, {.weight = NDArray::ones({2})}); }, "weight must be [3]");
  expect_error<ShapeError>([&] { cross_entropy(a, a, {.weight = NDArray::ones({2})}); }, "weight must be [3]");
  expect_error<ValueError>([&] { cross_entropy(a, a, {.ignore_index = 1}); }, "ignore_index 1");
  expect_error<ValueError>([&] { cross_entropy(a, a, {.label_smoothing = 2}); }, "label_smoothing");
  expect_error<DTypeError>([&] { cross_entropy(a, d); }, "one dtype");
  expect_error<ValueError>(
      [&] { cross_entropy(a, NDArray::full({2}, 3, DType::int64), {.weight = NDArray::ones({3})}); }, "class 3");
}

// Values of torch.nn.functional 1.13.
TEST(Distances, AgreeWithPyTorch) {
  const NDArray a = NDArray::from_vector<double>({1, -2, 0.5, 3, 0, -1}, {2, 3}),
                b = NDArray::from_vector<double>({0.5, 1, 2, -1, 2, 0.25}, {2, 3});
  const auto near = [](const Tensor& got, const std::vector<double>& expected) {
    const auto g = got.data().to_vector<double>();
    ASSERT_EQ(g.size(), expected.size());
    for (size_t i = 0; i < g.size(); ++i) EXPECT_NEAR(g[i], expected[i], 1e-9) << i;
  };
  near(pairwise_distance(a, b), {3.39116381203, 4.64354406677});
  near(pairwise_distance(a, b, 1), {4.999999, 7.249999});
  near(pairwise_distance(a, b, 3), {3.12439875793, 4.19745038591});
  near(pairwise_distance(a, b, kInf), {2.999999, 4.000001});
  near(cosine_similarity(a, b), {-0.0952380952381, -0.456773439802});
  near(cosine_similarity(a, b, 0), {-0.707106781187, -0.4472135955, 0.332820117735});
  EXPECT_EQ(pairwise_distance(a, b, 2, 1e-6, true).shape(), (Shape{2, 1}));
  EXPECT_EQ(cosine_similarity(NDArray::zeros({2, 3}), NDArray::ones({2, 3})).data().to_vector<float>(),
            (std::vector<float>{0, 0}));
  EXPECT_THROW(pairwise_distance(a, b, 0.5), ValueError);
  EXPECT_THROW(cosine_similarity(a, b, 1, 0), ValueError);
}

TEST(Distances, GradientsAgreeWithDifferences) {
  Generator generator(3);
  for (const Shape& shape : {Shape{4}, Shape{1, 1}, Shape{3, 4}, Shape{2, 3, 2}})
    for (const NDArray& x : randn_layouts(shape, generator)) {
      const NDArray y = randn_view(shape, generator);
      for (double p : {1.0, 2.0, 2.5, kInf})
        check_gradients([&](const auto& t) { return pairwise_distance(t[0], t[1], p); }, {x, y});
      check_gradients([&](const auto& t) { return cosine_similarity(t[0], t[1], -1); }, {x, y});
    }
  // Broadcast: one vector against several.
  check_gradients([&](const auto& t) { return pairwise_distance(t[0], t[1]); },
                  {randn({3, 4}, generator, DType::float64), randn({4}, generator, DType::float64)});
}

TEST(Distances, BroadcastBeforeTheyMeasure) {
  Generator generator(4);
  const Tensor x(randn({3, 4}, generator)), column(randn({3, 1}, generator)), row(randn({4}, generator));
  for (const Tensor& other : {column, row})
    for (const int64_t axis : {int64_t{0}, int64_t{1}})
      EXPECT_EQ(cosine_similarity(x, other, axis).data().to_vector<float>(),
                cosine_similarity(x, broadcast_to(other, {3, 4}), axis).data().to_vector<float>());
}

TEST(Distances, OfTheSameHaveNoGradient) {
  const Tensor x(NDArray::ones({2, 3}), true);
  for (const double p : {2.0, 3.0}) {
    x.set_grad(Tensor());
    sum(pairwise_distance(x, NDArray::ones({2, 3}), p, 0)).backward();
    for (const float g : x.grad().data().to_vector<float>()) EXPECT_EQ(g, 0) << p;
  }
}

}  // namespace
}  // namespace thimble
