#include <algorithm>

#include <thimble/serialization/onnx/padding.h>

namespace thimble::onnx {

namespace {

// {a} becomes {before, a}.
std::vector<int64_t> with_height(std::vector<int64_t> values, int64_t before) {
  if (values.size() == 1) values.insert(values.begin(), before);
  return values;
}

// An attribute's numbers for each axis of a kernel of so many.
std::vector<int64_t> per_axis(const OnnxNode& node, const char* key, size_t dims, const std::vector<int64_t>& missing) {
  const std::vector<int64_t> values = with_height(node.integers(key, missing), 1);
  node.require(values.size() == dims, "its attribute '", key, "' has ", values.size(), " entries, expected ", dims);
  node.require(std::ranges::all_of(values, [](int64_t v) { return v >= 1 && v < kMostOfWindow; }), "its attribute '",
               key, "' is not of numbers from 1 on");
  return values;
}

std::vector<int64_t> explicit_padding(const OnnxNode& node, size_t dims) {
  std::vector<int64_t> pads = node.integers("pads", std::vector<int64_t>(2 * dims, 0));
  if (pads.size() == 2) pads = {0, pads[0], 0, pads[1]};
  node.require(
      pads.size() == 2 * dims && std::ranges::all_of(pads, [](int64_t p) { return p >= 0 && p < kMostOfWindow; }),
      "its attribute 'pads' is not of ", 2 * dims, " numbers from 0 on");
  return pads;
}

// Where strides are 1 SAME says how much whatever the size.
std::vector<int64_t> same_padding_of(const Window& window) {
  std::vector<int64_t> pads(2 * window.dims());
  for (size_t d = 0; d < window.dims(); ++d) {
    const int64_t total = window.dilation[d] * (window.kernel[d] - 1), small = total / 2, large = total - small;
    pads[d] = window.auto_pad == "upper" ? small : large;
    pads[d + window.dims()] = total - pads[d];
  }
  return pads;
}

}  // namespace

Window window_of_any_size(const OnnxNode& node, const std::vector<int64_t>& kernel) {
  Window window;
  const size_t dims = with_height(node.integers("kernel_shape", kernel), 1).size();
  node.require(dims == 2 || dims == 3, "its attribute 'kernel_shape' has ", dims, " entries, expected 1 to 3");
  const std::vector<int64_t> ones(dims, 1);
  window.kernel = per_axis(node, "kernel_shape", dims, kernel);
  window.stride = per_axis(node, "strides", dims, ones);
  window.dilation = per_axis(node, "dilations", dims, ones);
  window.padding = explicit_padding(node, dims);

  const std::string auto_pad = node.text("auto_pad", "NOTSET");
  if (auto_pad == "NOTSET" || auto_pad.empty()) return window;
  window.padding.assign(2 * dims, 0);
  if (auto_pad == "VALID") return window;
  node.require(auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER", "its attribute 'auto_pad' is not covered");
  window.auto_pad = auto_pad == "SAME_UPPER" ? "upper" : "lower";
  if (window.stride != ones) return window;
  window.padding = same_padding_of(window);
  window.auto_pad = "none";
  return window;
}

Window window_of(const OnnxNode& node, const std::vector<int64_t>& kernel) {
  Window window = window_of_any_size(node, kernel);
  node.require(window.auto_pad == "none", "auto_pad with strides depends on the image's size, which is not covered");
  return window;
}

}  // namespace thimble::onnx
