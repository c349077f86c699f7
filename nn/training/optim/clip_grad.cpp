#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include <thimble/nn/training/optim/clip_grad.h>

namespace thimble::optim {

namespace {

// Calls f with each gradient.
template <typename F>
void for_each_gradient(const char* function, const std::vector<Tensor>& parameters, F&& f) {
  for (const Tensor& p : parameters) {
    if (!p.grad().defined()) continue;
    check<DTypeError>(p.dtype() == DType::float32, function, ": parameters must be float32, got ", p.dtype());
    f(p.grad().data().contiguous());
  }
}

// Puts f(g) in the place of each element g of the gradients.
template <typename F>
void replace_gradients(const std::vector<Tensor>& parameters, F&& f) {
  std::vector<std::pair<Tensor, Tensor>> replaced;  // all of them before any is changed
  for (const Tensor& p : parameters) {
    if (!p.grad().defined()) continue;
    NDArray own = p.grad().data().clone();
    float* g = own.data<float>();
    for (int64_t i = 0; i < own.numel(); ++i) g[i] = f(g[i]);
    replaced.emplace_back(p, own);
  }
  for (auto& [p, own] : replaced) p.set_grad(own);
}

// The sum of f(x). Several sums, so that additions need not wait for each other.
template <typename F>
double sum_of(const NDArray& array, F&& f) {
  constexpr int kLanes = 8;
  double lanes[kLanes] = {};
  const float* x = array.data<float>();
  const int64_t n = array.numel();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += f(double{x[i + lane]});
  for (; i < n; ++i) lanes[0] += f(double{x[i]});
  return std::accumulate(std::begin(lanes), std::end(lanes), 0.0);
}

// NaN if one is.
double largest_magnitude(const NDArray& array) {
  double largest = 0;
  const float* x = array.data<float>();
  for (int64_t i = 0; i < array.numel(); ++i) {
    const double size = std::abs(double{x[i]});
    if (!(size <= largest)) largest = size;
    if (std::isnan(size)) break;
  }
  return largest;
}

constexpr const char* kClipNorm = "clip_grad_norm";

double joint_largest(const std::vector<Tensor>& parameters) {
  double largest = 0;
  for_each_gradient(kClipNorm, parameters, [&](const NDArray& g) {
    const double of_one = largest_magnitude(g);
    if (!(of_one <= largest) && !std::isnan(largest)) largest = of_one;
  });
  return largest;
}

template <typename F>
double joint_sum(const std::vector<Tensor>& parameters, F&& f) {
  double total = 0;
  for_each_gradient(kClipNorm, parameters, [&](const NDArray& g) { total += sum_of(g, f); });
  return total;
}

double joint_norm(const std::vector<Tensor>& parameters, double p) {
  if (p == 2) return std::sqrt(joint_sum(parameters, [](double x) { return x * x; }));
  if (p == 1) return joint_sum(parameters, [](double x) { return std::abs(x); });
  const double unit = joint_largest(parameters);
  if (std::isinf(p) || !std::isfinite(unit) || unit == 0) return unit;
  // Powers of numbers up to 1 do not overflow.
  return unit * std::pow(joint_sum(parameters, [=](double x) { return std::pow(std::abs(x) / unit, p); }), 1 / p);
}

}  // namespace

double clip_grad_norm(const std::vector<Tensor>& parameters, double max_norm, double norm_type) {
  check<ValueError>(max_norm > 0, kClipNorm, ": max_norm ", max_norm, " must be above 0");
  check<ValueError>(norm_type >= 1, kClipNorm, ": norm_type ", norm_type, " must be at least 1");
  const double norm = joint_norm(parameters, norm_type);
  check<ValueError>(std::isfinite(norm), kClipNorm, ": the gradients' norm is ", norm);
  if (norm <= max_norm) return norm;
  const auto scale = static_cast<float>(max_norm / norm);
  replace_gradients(parameters, [=](float g) { return g * scale; });
  return norm;
}

void clip_grad_value(const std::vector<Tensor>& parameters, double clip_value) {
  check<ValueError>(clip_value > 0, "clip_grad_value: clip_value ", clip_value, " must be above 0");
  for_each_gradient("clip_grad_value", parameters, [](const NDArray& g) {
    check<ValueError>(!std::isnan(largest_magnitude(g)), "clip_grad_value: a gradient is NaN");
  });
  const auto most = static_cast<float>(clip_value);
  replace_gradients(parameters, [=](float g) { return std::clamp(g, -most, most); });
}

}  // namespace thimble::optim
