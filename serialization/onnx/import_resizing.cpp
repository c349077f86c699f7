// Resize, Upsample and GridSample.
#include <algorithm>

#include <thimble/serialization/onnx/handlers.h>

namespace thimble::onnx {

namespace {

using Named = std::vector<std::pair<std::string, Value>>;

// Whole numbers of pixels for each, the batch and the channels as they are: all that the common coordinates agree on.
bool repeats_pixels(const Attributes& attributes, const Value& scales) {
  if (attributes.get<std::string>("mode") != "nearest" || !scales.constant.defined() || scales.constant.numel() != 4 ||
      attributes.contains("axes"))
    return false;
  const auto coordinates = attributes.get<std::string>("coordinates"),
             rounding = attributes.get<std::string>("rounding");
  const bool is_plain = (coordinates == "asymmetric" && (rounding == "floor" || rounding == "simple")) ||
                        ((coordinates == "half_pixel" || coordinates == "pytorch_half_pixel") &&
                         (rounding == "round_prefer_floor" || rounding == "round_prefer_ceil"));
  const std::vector<double> s = scales.constant.to_vector<double>();
  const auto is_whole = [](double v) {
    return v >= 1 && v <= 1024 && v == static_cast<double>(static_cast<int64_t>(v));
  };
  return is_plain && s[0] == 1 && s[1] == 1 && is_whole(s[2]) && is_whole(s[3]);
}

void set_resized(Importer& importer, const OnnxNode& node, const Attributes& attributes, const Named& sizes) {
  const Value& x = importer.input(node, 0);
  const bool has_scales = sizes[0].first == "scales";
  if (has_scales && repeats_pixels(attributes, sizes[0].second)) {
    const std::vector<double> s = sizes[0].second.constant.to_vector<double>();
    const std::vector<int64_t> factor{static_cast<int64_t>(s[2]), static_cast<int64_t>(s[3])};
    return importer.set(node, 0, importer.apply(node, "upsample_nearest2d", {{"scale_factor", factor}}, {x}));
  }
  importer.set(node, 0, importer.apply_with(node, "interpolate", attributes, {x}, sizes, x.rank));
}

std::string mode_of(const OnnxNode& node) {
  const std::string mode = node.text("mode", "nearest");
  node.require(mode == "nearest" || mode == "linear" || mode == "cubic", "its mode '", mode, "' is not covered");
  return mode;
}

// Upsample, and Resize of opset 10: pixel i lies at i / scale.
void resize_from_corners(Importer& importer, const OnnxNode& node) {
  const Attributes attributes{
      {"mode", mode_of(node)}, {"coordinates", std::string("asymmetric")}, {"rounding", std::string("simple")}};
  if (node.opset() >= 9) return set_resized(importer, node, attributes, {{"scales", importer.input(node, 1)}});
  const std::vector<float> scales = node.numbers("scales");
  set_resized(importer, node, attributes, {{"scales", Importer::known(NDArray::from_vector(scales))}});
}

void resize(Importer& importer, const OnnxNode& node) {
  if (node.opset() < 11) return resize_from_corners(importer, node);
  Attributes attributes{{"mode", mode_of(node)},
                        {"coordinates", node.text("coordinate_transformation_mode", "half_pixel")},
                        {"rounding", node.text("nearest_mode", "round_prefer_floor")},
                        {"cubic_a", node.number("cubic_coeff_a", -0.75)},
                        {"exclude_outside", node.integer("exclude_outside", 0) != 0},
                        {"antialias", node.integer("antialias", 0) != 0},
                        {"extrapolation_value", node.number("extrapolation_value", 0)},
                        {"aspect", node.text("keep_aspect_ratio_policy", "stretch")}};
  if (const std::vector<int64_t> axes = node.integers("axes"); !axes.empty()) attributes.set("axes", axes);
  const auto is_given = [&](size_t i) {
    if (!importer.has_input(node, i)) return false;
    const NDArray& known = importer.input(node, i).constant;
    return !known.defined() || known.numel() > 0;  // empty means left out
  };
  const bool has_sizes = is_given(3);
  node.require(has_sizes || is_given(2), "it has neither scales nor sizes");
  Named operands{has_sizes ? std::pair{std::string("sizes"), importer.input(node, 3)}
                           : std::pair{std::string("scales"), importer.input(node, 2)}};
  if (attributes.get<std::string>("coordinates") == "tf_crop_and_resize" && is_given(1))
    operands.emplace_back("roi", importer.input(node, 1));
  set_resized(importer, node, attributes, operands);
}

// Newer names of modes are PyTorch's less the "bi".
void grid_sample(Importer& importer, const OnnxNode& node) {
  std::string mode = node.text("mode", node.opset() < 20 ? "bilinear" : "linear");
  if (mode == "linear" || mode == "cubic") mode = "bi" + mode;
  node.require(mode == "bilinear" || mode == "bicubic" || mode == "nearest", "its mode '", mode, "' is not covered");
  const Value &x = importer.input(node, 0), &grid = importer.input(node, 1);
  node.require(x.rank == 4, "its input has ", x.rank, " dimensions, expected 4");
  const Attributes attributes{{"mode", mode},
                              {"padding_mode", node.text("padding_mode", "zeros")},
                              {"align_corners", node.integer("align_corners", 0) != 0}};
  importer.set(node, 0, importer.apply(node, "grid_sample", attributes, {x, grid}));
}

}  // namespace

void add_resizing(Handlers& handlers) {
  const Handlers own{{"GridSample", grid_sample}, {"Resize", resize}, {"Upsample", resize_from_corners}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
