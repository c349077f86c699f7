// Layers of dynamic quantization.
#include <limits>
#include <optional>
#include <utility>

#include <thimble/nn/layers/conv.h>
#include <thimble/quant/layers/dynamic_layers.h>
#include <thimble/serialization/onnx/export_handlers.h>
#include <thimble/serialization/onnx/export_products.h>
#include <thimble/serialization/onnx/export_reductions.h>
#include <thimble/serialization/onnx/export_sums.h>
#include <thimble/serialization/onnx/export_tensors.h>

namespace thimble::onnx {

namespace {

using nn::Node;
using quant::DynamicProduct;

// An input as integers, of parameters that follow from it.
struct DynamicInput {
  std::string q, scale, zero_point;
};

std::string cast_to(Exporter& e, const Node& node, const std::string& x, DType dtype) {
  return e.step(node, "Cast", {x}, {{"to", int64_t{onnx_type(dtype)}}});
}

// The parameters of choose_qparams() for the range of x over these axes, or all, as [..., 1].
DynamicInput quantized_by_range(Exporter& e, const Node& node, const std::string& x, const std::string& padded,
                                const std::vector<int64_t>& axes, int bits) {
  const std::string zero = e.number(0), most = e.number((1 << bits) - 1);
  const std::string low = e.step(node, "Min", {ReductionCall(e, "ReduceMin", x, axes, true).step(e, node), zero});
  const std::string high = e.step(node, "Max", {ReductionCall(e, "ReduceMax", x, axes, true).step(e, node), zero});
  const std::string step = e.step(node, "Div", {e.step(node, "Sub", {high, low}), most});
  const std::string scale = e.step(node, "Max", {step, e.number(double{std::numeric_limits<float>::min()})});
  const auto rounded = [&](const std::string& values) {
    return e.step(node, "Round", {e.step(node, "Div", {values, scale})});
  };
  const std::string zero_point = e.step(node, "Clip", {rounded(e.step(node, "Neg", {low})), zero, most});
  const std::string steps = e.step(node, "Add", {rounded(padded), zero_point});
  return {cast_to(e, node, e.step(node, "Clip", {steps, zero, most}), DType::uint8), scale,
          cast_to(e, node, zero_point, DType::int32)};
}

// Zeros around an image, so that what is outside of it is quantized as its zero point.
std::string padded_image(Exporter& e, const Node& node, const std::string& x, Conv2dOptions& options) {
  const Padding p = std::exchange(options.padding, Padding(0));
  if (p == Padding(0)) return x;
  return e.step(node, "Pad", {x, e.integers({0, 0, p.top, p.left, 0, 0, p.bottom, p.right}), e.number(0)});
}

std::optional<Conv2dOptions> conv_options_of(const nn::Module& layer) {
  if (layer.type() != "DynamicQuantizedConv2d") return std::nullopt;
  return Conv2dOptions::from_attributes(layer.attributes());
}

// Products of integers with a bias that is added in float32.
class DynamicExport {
 public:
  DynamicExport(Exporter& e, const Node& node, const std::optional<Conv2dOptions>& conv)
      : e_(e),
        node_(node),
        layer_(*e.graph().layer_as<DynamicProduct>(&node)),
        sums_(e, node, layer_.weights(), conv) {}

  // With one zero point for all, a number of uint8.
  void write_with_zero_point(const DynamicInput& x) {
    write(x.scale, [&](int64_t g) { return sums_.of(x.q, x.zero_point, g); });
  }

  // With one for each row, of int32: sum over q * w, less zero point * sum over w.
  void write_with_zero_points(const DynamicInput& x) {
    write(x.scale, [&](int64_t g) {
      const std::string weights = sums_.per_channel(str("weight_sums.", g), sums_.sums_of_weights(g));
      const std::string shift = e_.step(node_, "Mul", {x.zero_point, weights});
      return e_.step(node_, "Sub", {sums_.of(x.q, e_.number(0, DType::uint8), g), shift});
    });
  }

 private:
  template <typename Sums>
  void write(const std::string& scale, Sums&& sums) {
    std::string value;
    for (int64_t g = 0; g < sums_.groups(); ++g) {
      const std::string step = sums_.per_channel("weight_scale", sums_.weights().step, g);
      const std::string scaled = sums_.scaled(sums(g), e_.step(node_, "Mul", {scale, step}));
      value = value.empty() ? with_bias(scaled) : e_.step(node_, "Add", {value, scaled});
    }
    sums_.write_float(value, layer_.options().relu);
  }

  std::string with_bias(const std::string& value) {
    const NDArray bias = state_array(layer_, "bias");
    return bias.defined() ? e_.step(node_, "Add", {value, sums_.per_channel("bias", bias)}) : value;
  }

  Exporter& e_;
  const Node& node_;
  const DynamicProduct& layer_;
  IntegerSums sums_;
};

void write_dynamic(Exporter& e, const Node& node) {
  const auto& layer = *e.graph().layer_as<DynamicProduct>(&node);
  const DynamicProduct::Options& o = layer.options();
  std::optional<Conv2dOptions> conv = conv_options_of(layer);
  const std::string x = e.input(node, 0);
  if (o.range == quant::DynamicRange::call && o.activation_bits == 8) {
    const std::vector<std::string> q = e.steps(node, "DynamicQuantizeLinear", 3, {x});
    return DynamicExport(e, node, conv).write_with_zero_point({q[0], q[1], q[2]});
  }
  std::vector<int64_t> axes{-1};
  if (conv) axes = {1, 2, 3};
  if (o.range == quant::DynamicRange::call) axes = {};
  const std::string padded = conv ? padded_image(e, node, x, *conv) : x;
  const DynamicInput input = quantized_by_range(e, node, x, padded, axes, o.activation_bits);
  DynamicExport(e, node, conv).write_with_zero_points(input);
}

}  // namespace

void add_dynamic_exports(ExportHandlers& handlers) {
  handlers["DynamicQuantizedConv2d"] = {write_dynamic};
  handlers["DynamicQuantizedLinear"] = {write_dynamic};
}

}  // namespace thimble::onnx
