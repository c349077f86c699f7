#include "apps/exported_arrays.h"

#include <cmath>
#include <set>

#include <thimble/core/text.h>
#include <thimble/nn/graph/sample.h>
#include <thimble/quant/layers/dynamic_layers.h>
#include <thimble/quant/layers/quantized_embedding.h>
#include <thimble/quant/layers/quantized_layer.h>
#include <thimble/quant/layers/weight_only_linear.h>

namespace thimble::apps {

namespace {

NDArray bytes_of(const std::string& text) {
  return NDArray::from_vector(std::vector<uint8_t>(text.begin(), text.end()));
}

NDArray int32_scalar(int64_t value) { return NDArray::full({}, static_cast<double>(value), DType::int32); }

// What each value of a pixel is when it reaches the first layer that computes.
NDArray table_of_pixels(const nn::Graph& graph, const data::Preprocessing& preprocessing) {
  const bool alike = preprocessing.channel_mean.empty();
  NDArray values(alike ? Shape{256} : Shape{preprocessing.channels, 256});
  for (int64_t i = 0; i < values.numel(); ++i)
    values.data<float>()[i] = preprocessing.value_of(static_cast<int>(i % 256), i / 256);
  const auto inputs = graph.inputs();
  const auto users = graph.users(inputs.at(0));
  const bool quantized = inputs.size() == 1 && users.size() == 1 && graph.is_layer(users[0], "Quantize");
  return quantized ? graph.layer(users[0])(Tensor(values)).data() : values;
}

class Exporter {
 public:
  void add(const std::string& name, const NDArray& array) {
    check(names_.insert(name).second, "export: two arrays would be named ", detail::quote(name));
    arrays_.emplace_back(name, array);
  }

  // A layer or tensor may have several nodes.
  void add_node(const nn::Graph& graph, const nn::Node* node) {
    const bool has_arrays = node->kind == nn::Node::Kind::layer || node->kind == nn::Node::Kind::tensor;
    if (!has_arrays || !targets_.insert(node->target).second) return;
    if (node->kind == nn::Node::Kind::tensor)
      add(node->target, graph.tensor(node).data());
    else
      add_layer(node->target + '.', graph.layer(node));
  }

  NamedArrays take() { return std::move(arrays_); }

 private:
  void add_layer(const std::string& prefix, const nn::Module& layer) {
    const NDArray weight = unpacked_weight(layer);
    for (const auto& [name, tensor] : layer.state())
      add(prefix + name, name == "weight" && weight.defined() ? weight : tensor.data());
    if (const auto* product = dynamic_cast<const quant::IntegerProduct*>(&layer)) add_product(prefix, *product);
    for (const auto& [key, value] : layer.attributes())
      if (!names_.contains(prefix + key)) add_attribute(prefix + key, value);  // "bias" may be both
  }

  void add_product(const std::string& prefix, const quant::IntegerProduct& product) {
    const quant::IntegerWeights& weights = product.weights();
    add(prefix + "weight_shift", int32_scalar(weights.shift()));
    if (const auto& output = product.quantization().output) {
      add(prefix + "output_min", int32_scalar(product.quantization().relu ? output->zero_point : 0));
      add(prefix + "output_max", int32_scalar(output->qmax()));
    }
    const std::vector<float>& multiplier = product.multiplier();
    std::vector<int32_t> mantissa, shifts;
    for (const float m : multiplier) {
      constexpr int kMantissaBits = 24;
      int exponent = 0;
      mantissa.push_back(static_cast<int32_t>(std::ldexp(std::frexp(m, &exponent), kMantissaBits)));
      shifts.push_back(kMantissaBits - exponent);
    }
    const int64_t out = weights.shape()[0];
    const Shape shape = weights.format().group_size == 0 ? Shape{out} : Shape{weights.groups(), out};
    add(prefix + "multiplier", NDArray::from_vector(multiplier, shape));
    add(prefix + "multiplier_mantissa", NDArray::from_vector(mantissa, shape));
    add(prefix + "multiplier_shift", NDArray::from_vector(shifts, shape));
  }

  void add_attribute(const std::string& name, const Attribute& value) {
    if (name.ends_with(".relu"))
      if (const auto* relu = std::get_if<bool>(&value)) add(name, NDArray::full({}, *relu, DType::uint8));
    if (name.ends_with("scale")) {
      if (const auto* one = std::get_if<double>(&value)) add(name, NDArray::full({}, *one));
      if (const auto* list = std::get_if<std::vector<double>>(&value))
        add(name, NDArray::from_vector(*list).to(DType::float32));
    } else if (name.ends_with("zero_point") || name.ends_with("bits") || name.ends_with("group_size")) {
      if (const auto* one = std::get_if<int64_t>(&value)) add(name, int32_scalar(*one));
      if (const auto* list = std::get_if<std::vector<int64_t>>(&value))
        add(name, NDArray::from_vector(*list).to(DType::int32));
    }
  }

  NamedArrays arrays_;
  std::set<std::string> names_, targets_;
};

}  // namespace

NDArray unpacked_weight(const nn::Module& layer) {
  if (const auto* product = dynamic_cast<const quant::IntegerProduct*>(&layer)) return product->weights().unpacked();
  if (const auto* product = dynamic_cast<const quant::DynamicProduct*>(&layer)) return product->weights().unpacked();
  if (const auto* linear = dynamic_cast<const quant::WeightOnlyLinear*>(&layer)) return linear->unpacked();
  if (const auto* table = dynamic_cast<const quant::IntegerTable*>(&layer)) return table->unpacked();
  return {};
}

NamedArrays exported_arrays(const LoadedModel& model, const std::string& graph_json) {
  Exporter exporter;
  exporter.add("graph.json", bytes_of(graph_json));
  const auto inputs = model.graph.inputs();
  const auto sample = inputs.size() == 1 ? nn::sample_of(*inputs[0]) : std::nullopt;
  const std::optional<Shape> noted = model.notes ? model.notes->input_shape : std::nullopt;
  if (sample || noted)
    exporter.add("input.shape", NDArray::from_vector((sample ? sample->shape : *noted).to_vector()).to(DType::int32));
  if (model.notes && !model.notes->preparation.vocabulary) {
    const data::Preprocessing& preprocessing = model.notes->preparation.images;
    exporter.add("input.crop", int32_scalar(preprocessing.crop));
    exporter.add("input.pad", int32_scalar(preprocessing.pad));
    exporter.add("input.channels", int32_scalar(preprocessing.channels));
    exporter.add("input.table", table_of_pixels(model.graph, preprocessing));
  }
  for (const nn::Node* node : model.graph.nodes()) exporter.add_node(model.graph, node);
  return exporter.take();
}

}  // namespace thimble::apps
