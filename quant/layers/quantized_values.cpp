#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/quant/layers/quantized_values.h>

namespace thimble::quant {

NDArray floats_of(const TensorQParams& p) {
  NDArray x({p.qmax() + 1});
  for (int32_t q = 0; q <= p.qmax(); ++q) x.data<float>()[q] = p.scale * static_cast<float>(q - p.zero_point);
  return x;
}

namespace {

std::vector<uint8_t> rounded_to(const NDArray& floats, const TensorQParams& p) {
  std::vector<uint8_t> result;
  for (const float v : floats.to_vector<float>()) {
    const float q = std::nearbyint(v / p.scale) + static_cast<float>(p.zero_point);
    result.push_back(static_cast<uint8_t>(q > 0 ? std::min(q, static_cast<float>(p.qmax())) : 0));  // 0 for NaN, too
  }
  return result;
}

}  // namespace

std::vector<uint8_t> table_of(const NDArray& floats, const TensorQParams& p) {
  std::vector<uint8_t> table = rounded_to(floats, p);
  table.resize(256, table.back());
  return table;
}

std::optional<double> factor_of(const NDArray& floats, const TensorQParams& p) {
  constexpr double kTolerance = 1e-5;  // of a few floats' roundings
  const std::vector<double> x = floats_of(p).to_vector<double>(), y = floats.to_vector<double>();
  if (x.size() != y.size()) return std::nullopt;
  const size_t far = x.back() >= -x.front() ? x.size() - 1 : 0;  // from 0
  const double factor = y[far] / x[far], scale = factor * double{p.scale};
  const bool is_sound = factor > 0 && scale >= std::numeric_limits<float>::min() &&
                        scale <= std::numeric_limits<float>::max() && std::isfinite(y[far]);
  for (size_t i = 0; i < x.size() && is_sound; ++i)
    if (!(std::abs(y[i] - factor * x[i]) <= kTolerance * std::abs(factor * x[far]))) return std::nullopt;
  return is_sound ? std::optional(factor) : std::nullopt;
}

TensorQParams needed_range(const TensorQParams& input, const TensorQParams& output,
                           const std::function<NDArray(const NDArray&)>& function) {
  constexpr int kPoints = 4096;  // 16 for each step of 8 bits
  const float low = input.scale * static_cast<float>(-input.zero_point),
              high = input.scale * static_cast<float>(input.qmax() - input.zero_point);
  std::vector<float> x;
  for (int i = 0; i <= kPoints; ++i) x.push_back(low + (high - low) * static_cast<float>(i) / kPoints);
  const std::vector<uint8_t> y = rounded_to(function(NDArray::from_vector(x)), output);
  const auto differs_from = [](uint8_t end) { return [end](uint8_t q) { return q != end; }; };
  const auto first = std::ranges::find_if(y, differs_from(y.front())) - y.begin();
  const auto last = y.rend() - std::find_if(y.rbegin(), y.rend(), differs_from(y.back()));
  if (first == std::ssize(y)) return input;  // a constant, of which nothing is needed
  const auto at = [&](std::ptrdiff_t i) { return x[static_cast<size_t>(std::clamp<std::ptrdiff_t>(i, 0, kPoints))]; };
  const float least = std::min(at(first - 1), 0.0f), most = std::max(at(last), 0.0f);
  // The zero point is rounded, which moves the ends by half a step: they are not to give another integer for it.
  const float step = (most - least) / static_cast<float>(input.qmax());
  const TensorQParams needed = TensorQParams::from(
      choose_qparams(least < 0 ? least - step : 0, most > 0 ? most + step : 0, {.bits = input.bits}));
  return needed.scale < input.scale ? needed : input;
}

}  // namespace thimble::quant
