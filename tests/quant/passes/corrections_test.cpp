#include <cmath>

#include <gtest/gtest.h>

#include "tests/quant/calibrated.h"
#include <thimble/quant/passes/bias_correction.h>
#include <thimble/quant/passes/corrections.h>

namespace thimble::quant {
namespace {

class Corrections : public CalibratedTest {
 protected:
  double error_with(const QConfigMapping& mapping, const CorrectionOptions& options) {
    Graph integers = convert(calibrate_with_corrections(fused, mapping, batches, options).prepared);
    return mean_squared_error(integers);
  }
};

// Few bits shift means.
TEST_F(Corrections, BiasesAreCorrectedWhereThatIsFoundToHelp) {
  const Corrected result = calibrate_with_corrections(fused, bits(3), batches);
  ASSERT_TRUE(result.bias_trial);
  EXPECT_TRUE(result.biases_corrected);
  EXPECT_GT(result.bias_trial->sqnr_with, result.bias_trial->sqnr_without + 0.5);
  EXPECT_LT(error_with(bits(3), {}), 0.9 * error_with(bits(3), {.bias_correction = false}));
}

TEST_F(Corrections, ATrialIsOnSamplesThatNothingWasLearnedFrom) {
  // All of what biases learn is the first half of the samples; its mean is none of the others'.
  const std::vector<Tensor> unlike{batches[0] + 5.0, batches[0] * -1.0};
  const Corrected result = calibrate_with_corrections(fused, bits(8), unlike);
  ASSERT_TRUE(result.bias_trial);
  EXPECT_LT(result.bias_trial->sqnr_without, 20) << "the other half leaves the ranges of the first one";
}

TEST_F(Corrections, AreMadeAsTheyAreAskedFor) {
  const Corrected none =
      calibrate_with_corrections(fused, bits(3), batches, {.equalization = false, .bias_correction = false});
  EXPECT_TRUE(none.equalized.empty());
  EXPECT_FALSE(none.biases_corrected);
  EXPECT_FALSE(none.bias_trial);
  expect_same(convert(none.prepared), convert(calibrated(bits(3))));
  const Corrected both = calibrate_with_corrections(fused, bits(3), batches, {.bias_correction = true});
  EXPECT_FALSE(both.equalized.empty());
  EXPECT_TRUE(both.biases_corrected);
  EXPECT_FALSE(both.bias_trial);
  Graph prepared = prepare(both.fused, bits(3));
  for (const Tensor& batch : batches) prepared(batch);
  expect_same(convert(both.prepared), convert(bias_correction(prepared, both.fused, batches)));
}

TEST_F(Corrections, NothingIsTriedWithoutDepthwiseLayersOrWithOneSample) {
  EXPECT_FALSE(calibrate_with_corrections(fused, bits(3), std::vector<Tensor>{images(1)}).bias_trial);
  struct Dense : nn::Module {
    nn::Submodule<nn::Conv2d> a{this, "a", 3, 4, 3}, b{this, "b", 4, 4, 3, {.groups = 2}};
    Tensor forward(const Tensor& x) override { return b(relu(a(x))); }
  } dense;
  const Graph graph = fuse_conv_bn_relu(nn::trace(dense.eval(), batches[0]));
  const Corrected result = calibrate_with_corrections(graph, bits(3), batches);
  EXPECT_FALSE(result.bias_trial);
  EXPECT_FALSE(result.biases_corrected);
  EXPECT_TRUE(result.equalized.empty());
}

TEST_F(Corrections, QuantizeModelMakesThem) {
  ConversionReport report;
  const Graph integers = quantize_model(fused, batches, bits(3), &report);
  EXPECT_EQ(report.size(), 5u);
  expect_same(integers, convert(calibrate_with_corrections(fused, bits(3), batches).prepared));
}

TEST_F(Corrections, TellHowManyBatchesAreDone) {
  std::vector<std::pair<int64_t, int64_t>> calls;
  const CorrectionOptions options{.progress = [&](int64_t done, int64_t total) { calls.emplace_back(done, total); }};
  calibrate_with_corrections(fused, bits(8), batches, options);
  EXPECT_EQ(calls, (std::vector<std::pair<int64_t, int64_t>>{{1, 3}, {2, 3}, {3, 3}}));
}

}  // namespace
}  // namespace thimble::quant
