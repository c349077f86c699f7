#include <limits>

#include <thimble/serialization/onnx/export_products.h>

namespace thimble::onnx {

Attributes conv_attributes_of(const Conv2dOptions& o, const std::vector<int64_t>& kernel) {
  const Padding& p = o.padding;
  return {{"kernel_shape", kernel},
          {"strides", o.stride.to_vector()},
          {"pads", std::vector<int64_t>{p.top, p.left, p.bottom, p.right}},
          {"dilations", o.dilation.to_vector()},
          {"group", o.groups}};
}

Attributes conv_attributes_from(const Attributes& a, const std::vector<int64_t>& kernel) {
  using Sizes = std::vector<int64_t>;
  Attributes attributes{{"kernel_shape", kernel},
                        {"strides", a.get<Sizes>("stride")},
                        {"pads", a.get<Sizes>("padding")},
                        {"dilations", a.get<Sizes>("dilation")},
                        {"group", a.get<int64_t>("groups")}};
  if (a.contains("output_padding")) attributes.set("output_padding", a.get<Sizes>("output_padding"));
  return attributes;
}

void write_activated(Exporter& e, const nn::Node& node, bool relu, const std::string& op,
                     const std::vector<std::string>& inputs, const Attributes& attributes) {
  if (!relu) {
    e.result(node, op, inputs, attributes);
    return;
  }
  const std::string x = e.step(node, op, inputs, attributes);
  e.note_clamp(e.result(node, "Relu", {x}), x, 0, std::numeric_limits<double>::infinity());
}

NDArray state_array(const nn::Module& layer, const std::string& name) {
  for (const auto& [own_name, tensor] : layer.state())
    if (own_name == name) return tensor.data();
  return {};
}

}  // namespace thimble::onnx
