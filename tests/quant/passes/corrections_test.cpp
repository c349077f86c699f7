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

// What is learned of the first half of the samples is wrong for the others.
TEST_F(Corrections, BiasesStayWhereATrialFindsTheAnswersWorse) {
  const std::vector<Tensor> unlike{rand({32, 3, 6, 6}, generator) * 4.0 + 4.0, randn({32, 3, 6, 6}, generator) * 0.05};
  const Corrected result = calibrate_with_corrections(fused, bits(3), unlike);
  ASSERT_TRUE(result.bias_trial);
  EXPECT_LT(result.bias_trial->sqnr_with, result.bias_trial->sqnr_without);
  EXPECT_FALSE(result.biases_corrected);
  Graph plain = prepare(result.fused, bits(3));
  for (const Tensor& batch : unlike) plain(batch);
  expect_same(convert(result.prepared), convert(plain));
}

// Bias correction wants floats of one shape; a graph may take one batch size alone.
TEST_F(Corrections, NothingIsTriedThatCannotBe) {
  struct AnySize : nn::Module {
    nn::Submodule<nn::Conv2d> conv{this, "conv", 3, 8, 3}, depthwise{this, "depthwise", 8, 8, 3, {.groups = 8}};
    Tensor forward(const Tensor& x) override { return global_avg_pool2d(relu(depthwise(relu(conv(x))))); }
  } any_size;
  const Graph graph = fuse_conv_bn_relu(nn::trace(any_size.eval(), images(2)));
  const std::vector<Tensor> sizes{randn({2, 3, 8, 8}, generator), randn({2, 3, 8, 12}, generator)};
  const Corrected of_sizes = calibrate_with_corrections(graph, bits(8), sizes);
  EXPECT_FALSE(of_sizes.bias_trial);
  EXPECT_FALSE(of_sizes.biases_corrected);
  EXPECT_THROW(calibrate_with_corrections(graph, bits(8), sizes, {.bias_correction = true}), ValueError);

  struct OneSize : AnySize {
    Tensor forward(const Tensor& x) override { return reshape(AnySize::forward(x), {4, 8}); }
  } one_size;
  const Graph fixed = fuse_conv_bn_relu(nn::trace(one_size.eval(), images(4)));
  EXPECT_FALSE(calibrate_with_corrections(fixed, bits(8), std::vector<Tensor>{images(4)}).bias_trial);
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

TEST_F(Corrections, TellWhatIsDone) {
  std::vector<std::string> calls;
  const CorrectionOptions options{.bias_correction = true,
                                  .progress = [&](std::string_view stage, int64_t done, int64_t total) {
                                    calls.push_back(str(stage, ' ', done, '/', total));
                                  }};
  calibrate_with_corrections(fused, bits(8), batches, options);
  EXPECT_EQ(calls, (std::vector<std::string>{"calibrating 1/3", "calibrating 2/3", "calibrating 3/3",
                                             "correcting biases 1/5", "correcting biases 2/5", "correcting biases 3/5",
                                             "correcting biases 4/5", "correcting biases 5/5"}));
}

}  // namespace
}  // namespace thimble::quant
