#include <algorithm>

#include <thimble/serialization/onnx/padding.h>

namespace thimble::onnx {

namespace {

// {a} becomes {before, a}.
std::vector<int64_t> planar(const OnnxNode& node, std::vector<int64_t> values, int64_t before, const char* key) {
  if (values.size() == 1) values.insert(values.begin(), before);
  node.require(values.size() == 2, "its attribute '", key, "' has ", values.size(), " entries, expected 1 or 2");
  node.require(std::ranges::all_of(values, [](int64_t v) { return v >= 1 && v < kMostOfWindow; }), "its attribute '",
               key, "' is not of numbers from 1 on");
  return values;
}

std::vector<int64_t> explicit_padding(const OnnxNode& node, bool is_line) {
  std::vector<int64_t> pads = node.integers("pads", std::vector<int64_t>(is_line ? 2 : 4, 0));
  if (pads.size() == 2) pads = {0, pads[0], 0, pads[1]};
  node.require(pads.size() == 4 && std::ranges::all_of(pads, [](int64_t p) { return p >= 0 && p < kMostOfWindow; }),
               "its attribute 'pads' is not of 2 or 4 numbers from 0 on");
  return pads;
}

// Where strides are 1 SAME says how much whatever the size.
std::vector<int64_t> same_padding_of(const Window& window) {
  std::vector<int64_t> pads(4);
  for (size_t d = 0; d < 2; ++d) {
    const int64_t total = window.dilation[d] * (window.kernel[d] - 1), small = total / 2, large = total - small;
    pads[d] = window.auto_pad == "upper" ? small : large;
    pads[d + 2] = total - pads[d];
  }
  return pads;
}

}  // namespace

Window window_of_any_size(const OnnxNode& node, const std::vector<int64_t>& kernel) {
  Window window;
  const std::vector<int64_t> own = node.integers("kernel_shape", kernel);
  const bool is_line = own.size() == 1 || node.integers("strides").size() == 1 || node.integers("pads").size() == 2;
  window.kernel = planar(node, own, 1, "kernel_shape");
  const std::vector<int64_t> ones(is_line ? 1 : 2, 1);
  window.stride = planar(node, node.integers("strides", ones), 1, "strides");
  window.dilation = planar(node, node.integers("dilations", ones), 1, "dilations");
  window.padding = explicit_padding(node, is_line);

  const std::string auto_pad = node.text("auto_pad", "NOTSET");
  if (auto_pad == "NOTSET" || auto_pad.empty()) return window;
  window.padding = {0, 0, 0, 0};
  if (auto_pad == "VALID") return window;
  node.require(auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER", "its attribute 'auto_pad' is not covered");
  window.auto_pad = auto_pad == "SAME_UPPER" ? "upper" : "lower";
  if (window.stride != std::vector<int64_t>{1, 1}) return window;
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
