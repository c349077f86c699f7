#include <cmath>

#include <gtest/gtest.h>

#include "tests/quant/conversion.h"
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/analysis/output_divergence.h>

namespace thimble::quant {
namespace {

using OutputDivergence = QuantizeTest;

std::vector<double> probabilities(const std::vector<double>& logits, size_t row, size_t classes) {
  std::vector<double> p;
  double sum = 0;
  for (size_t i = 0; i < classes; ++i) sum += std::exp(logits[row * classes + i]);
  for (size_t i = 0; i < classes; ++i) p.push_back(std::exp(logits[row * classes + i]) / sum);
  return p;
}

TEST_F(OutputDivergence, IsTheMeanDivergenceOfProbabilities) {
  nn::Sequential model(nn::Linear(8, 5));
  Graph reference = traced(model);
  Graph other = reference.clone();
  Tensor weight = other.layer_as<nn::Linear>(other.find("0"))->weight;
  weight.mutable_data().copy_from(random_normal(weight.shape(), rng, 0.5f));
  // Over rows, whatever batch they are in. Float logits themselves may depend on the batch, and on whether gradients
  // are recorded, by their rounding.
  const NoGrad guard;
  const std::vector<Tensor> batches{Tensor(data.slice(0, 0, 3)), Tensor(data.slice(0, 3, 16))};
  double expected = 0;
  for (const Tensor& batch : batches) {
    const auto a = reference(batch).data().to_vector<double>(), b = other(batch).data().to_vector<double>();
    for (size_t row = 0; row < a.size() / 5; ++row) {
      const auto p = probabilities(a, row, 5), q = probabilities(b, row, 5);
      for (size_t i = 0; i < 5; ++i) expected += p[i] * std::log(p[i] / q[i]) / 16;
    }
  }
  EXPECT_GT(expected, 0.1);
  const auto in_parts = output_divergence(reference, batches);
  EXPECT_NEAR(in_parts(other), expected, 1e-12);
  EXPECT_EQ(in_parts(reference), 0);
}

TEST_F(OutputDivergence, LargeLogitsDoNotOverflow) {
  nn::Sequential model(nn::Linear(8, 5));
  Graph reference = traced(model);
  Tensor weight = reference.layer_as<nn::Linear>(reference.find("0"))->weight;
  for (int64_t i = 0; i < weight.numel(); ++i) weight.mutable_data().data<float>()[i] *= 1e6f;
  Graph other = reference.clone();
  Tensor bias = other.layer_as<nn::Linear>(other.find("0"))->bias;
  bias.mutable_data().data<float>()[0] += 1e6f;
  const double d = output_divergence(reference, {Tensor(data)})(other);
  EXPECT_TRUE(std::isfinite(d));
  EXPECT_GT(d, 0);
}

TEST_F(OutputDivergence, IsTheReferencesAsItWas) {
  nn::Sequential model(nn::Linear(8, 5));
  Graph reference = traced(model);
  const auto divergence = output_divergence(reference, {Tensor(data)});
  reference.layer_as<nn::Linear>(reference.find("0"))->weight.mutable_data().data<float>()[0] += 1;
  EXPECT_GT(divergence(reference), 0);
}

TEST_F(OutputDivergence, WhatCannotBeComparedIsRefused) {
  nn::Sequential model(nn::Linear(8, 5)), wider(nn::Linear(8, 6));
  Graph reference = traced(model), other = traced(wider);
  EXPECT_THROW(output_divergence(reference, {}), ValueError);
  EXPECT_THROW(output_divergence(reference, {Tensor(data)})(other), ShapeError);
}

}  // namespace
}  // namespace thimble::quant
