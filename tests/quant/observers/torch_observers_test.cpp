// Observers compared with torch.ao.quantization's on the same batches; see tests/data/make_observer_vectors.py.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/quant/observers/observer_streams.h"
#include <thimble/quant/observers/histogram_observers.h>

namespace thimble::quant {
namespace {

using nlohmann::json;

QuantizationSpec spec_of(const json& c) {
  QuantizationSpec spec;
  spec.bits = c.at("spec").at("bits");
  spec.is_signed = c.at("spec").at("signed");
  spec.scheme = qscheme_from_name(c.at("spec").at("scheme").get<std::string>());
  spec.reduce_range = c.at("spec").at("reduce_range");
  if (!c.at("axis").is_null()) spec.axis = c.at("axis").get<int>();
  return spec;
}

json torch_cases() {
  std::ifstream file(std::string(THIMBLE_TEST_DATA) + "/torch_observer_streams.json");
  return json::parse(file).at("cases");
}

std::vector<NDArray> batches_of(const json& c) {
  const Shape shape(c.at("shape").get<std::vector<int64_t>>());
  auto seed = c.at("seed").get<uint64_t>();
  std::vector<NDArray> batches;
  for (const json& range : c.at("ranges"))
    batches.push_back(NDArray::from_vector(
        stream_batch(c.at("kind"), seed++, static_cast<size_t>(shape.numel()), range.at(0), range.at(1)), shape));
  return batches;
}

std::vector<float> state_of(const Observer& observer, const std::string& name) {
  for (const auto& [key, tensor] : observer.named_buffers())
    if (key == name) return tensor.data().to_vector<float>();
  return {};
}

void expect_near(const std::vector<float>& got, const json& expected, double relative) {
  const auto e = expected.get<std::vector<float>>();
  ASSERT_EQ(got.size(), e.size());
  for (size_t i = 0; i < e.size(); ++i) EXPECT_NEAR(got[i], e[i], relative * std::abs(e[i])) << i;
}

// Whether the ranges differ by at most a hundredth of their width at each end. If not, then by no more than torch's
// does with other numbers of bins.
bool has_same_clipping(const Observer& observer, const json& c) {
  const ClipRange got = norm_range(dynamic_cast<const DistributionObserver&>(observer).histogram(), observer.spec());
  const double low = c.at("min").at(0), high = c.at("max").at(0), hundredth = (high - low) / 100;
  const double difference = std::max(std::abs(got.low - low), std::abs(got.high - high));
  EXPECT_LE(difference, std::max(hundredth, c.at("spread").get<double>())) << '[' << got.low << ", " << got.high << ']';
  if (difference > hundredth) return false;
  const QParams p = observer.qparams();
  EXPECT_NEAR(p.scale[0], c.at("scale").at(0).get<double>(), 0.02 * p.scale[0]);
  EXPECT_NEAR(p.zero_point[0], c.at("zero_point").at(0).get<int>(), 3);
  return true;
}

TEST(TorchObservers, ChooseTheSameForTheSameBatches) {
  std::map<std::string, int> count;
  int same_clipping = 0;
  for (const json& c : torch_cases()) {
    SCOPED_TRACE(c.dump());
    const std::string name = c.at("observer");
    ++count[name];
    const auto observer = make_observer(name, spec_of(c));
    for (const NDArray& x : batches_of(c)) (*observer)(Tensor(x));
    if (name == "histogram") {
      if (has_same_clipping(*observer, c)) ++same_clipping;
      continue;
    }
    const double tolerance = name == "minmax" ? 0 : 1e-6;
    expect_near(state_of(*observer, "min"), c.at("min"), tolerance);
    expect_near(state_of(*observer, "max"), c.at("max"), tolerance);
    expect_near(observer->qparams().scale, c.at("scale"), tolerance);
    EXPECT_EQ(observer->qparams().zero_point, c.at("zero_point").get<std::vector<int32_t>>());
  }
  EXPECT_GE(count["minmax"], 75);
  EXPECT_GE(count["moving-average"], 75);
  EXPECT_GE(count["histogram"], 50);
  EXPECT_GE(same_clipping, count["histogram"] * 9 / 10);
}

double squared_error(const std::vector<NDArray>& batches, const QParams& p) {
  double sum = 0;
  for (const NDArray& x : batches) {
    const auto values = x.to_vector<double>(), rounded = dequantize(quantize(x, p), p).to_vector<double>();
    for (size_t i = 0; i < values.size(); ++i) sum += (values[i] - rounded[i]) * (values[i] - rounded[i]);
  }
  return sum;
}

// torch 1.13 counts values between whole numbers alone; see make_observer_vectors.py.
TEST(TorchObservers, HistogramsBetweenBoundsHaveLessErrorThanThoseBetweenWholeNumbers) {
  double log_of_ratios = 0;
  int differ = 0;
  for (const json& c : torch_cases()) {
    if (c.at("observer") != "histogram") continue;
    const std::vector<NDArray> batches = batches_of(c);
    const auto observer = make_observer("histogram", spec_of(c));
    for (const NDArray& x : batches) (*observer)(Tensor(x));
    const auto whole = c.at("between_whole_numbers").get<std::vector<float>>();
    if (whole[0] == c.at("min").at(0).get<float>() && whole[1] == c.at("max").at(0).get<float>()) continue;
    ++differ;
    const double ours = squared_error(batches, observer->qparams());
    log_of_ratios += std::log(ours / squared_error(batches, choose_qparams(whole[0], whole[1], spec_of(c))));
  }
  EXPECT_GE(differ, 15);
  EXPECT_LT(log_of_ratios / differ, 0);
}

}  // namespace
}  // namespace thimble::quant
