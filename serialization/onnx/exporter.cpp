#include <algorithm>
#include <cmath>

#include <thimble/core/text.h>
#include <thimble/nn/graph/attribute_inputs.h>
#include <thimble/quant/qat/fake_quantize.h>
#include <thimble/serialization/onnx/export_handlers.h>
#include <thimble/serialization/onnx/export_tensors.h>
#include <thimble/serialization/onnx/exporter.h>

namespace thimble::onnx {

namespace {

using nn::Node;
using ::onnx::AttributeProto;

constexpr int64_t kLeastOpset = 17, kMostOpset = 25;

// The version of the format that each opset came with, from kLeastOpset on.
constexpr int64_t kIrVersions[] = {8, 8, 9, 9, 10, 10, 11, 12, 13};

ExportHandlers all_export_handlers() {
  ExportHandlers handlers;
  add_arithmetic_exports(handlers);
  add_function_exports(handlers);
  add_embedding_exports(handlers);
  add_indexing_exports(handlers);
  add_shape_exports(handlers);
  add_reduction_exports(handlers);
  add_pool_exports(handlers);
  add_layer_exports(handlers);
  add_norm_exports(handlers);
  add_loss_exports(handlers);
  add_integer_exports(handlers);
  add_integer_row_exports(handlers);
  add_dynamic_exports(handlers);
  add_weight_only_exports(handlers);
  add_qat_exports(handlers);
  return handlers;
}

struct AttributeWriter {
  AttributeProto& proto;

  void operator()(bool value) const { (*this)(int64_t{value}); }
  void operator()(int64_t value) const {
    proto.set_type(AttributeProto::INT);
    proto.set_i(value);
  }
  void operator()(double value) const {
    proto.set_type(AttributeProto::FLOAT);
    proto.set_f(static_cast<float>(value));
  }
  void operator()(const std::string& value) const {
    proto.set_type(AttributeProto::STRING);
    proto.set_s(value);
  }
  void operator()(const std::vector<int64_t>& values) const {
    proto.set_type(AttributeProto::INTS);
    for (const int64_t value : values) proto.add_ints(value);
  }
  void operator()(const std::vector<double>& values) const {
    proto.set_type(AttributeProto::FLOATS);
    for (const double value : values) proto.add_floats(static_cast<float>(value));
  }
};

void declare(::onnx::ValueInfoProto& info, const std::string& name, const ValueType& type) {
  info.set_name(name);
  auto& tensor = *info.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(onnx_type(type.dtype));
  auto& shape = *tensor.mutable_shape();
  for (const int64_t size : type.sizes) {
    auto& dim = *shape.add_dim();
    if (size >= 0) dim.set_dim_value(size);
    if (size == ValueType::kBatch) dim.set_dim_param("batch");
  }
}

bool is_same_array(const ::onnx::TensorProto& a, const ::onnx::TensorProto& b) {
  return a.data_type() == b.data_type() && std::ranges::equal(a.dims(), b.dims()) && a.raw_data() == b.raw_data();
}

}  // namespace

const ExportHandler* export_handler_of(const std::string& type) {
  static const ExportHandlers handlers = all_export_handlers();
  const auto it = handlers.find(type);
  return it == handlers.end() ? nullptr : &it->second;
}

std::string export_type_of(const nn::Graph& graph, const Node& node) {
  if (node.kind != Node::Kind::layer) return node.target;
  const bool is_observer = graph.layer_as<quant::Observer>(&node) && !graph.layer_as<quant::FakeQuantize>(&node);
  return is_observer ? kObserver : graph.layer(&node).type();
}

Exporter::Exporter(const nn::Graph& graph, const ExportOptions& options) : graph_(graph.clone()), options_(options) {
  check<ValueError>(options.opset == 0 || (options.opset >= kLeastOpset && options.opset <= kMostOpset),
                    "export: opset ", options.opset, " is not one of ", kLeastOpset, " to ", kMostOpset);
  graph_.eval();
  find_shared_weights();
}

// Calls of one layer that have become layers of their own still have one weight.
void Exporter::find_shared_weights() {
  std::unordered_map<const void*, std::string> first_of;
  for (const auto& [path, layer] : graph_.children())
    for (const auto& [name, tensor] : layer->state()) {
      if (name != "weight") continue;
      const std::string& first = first_of.try_emplace(tensor.data().address(), path).first->second;
      if (first != path) weight_owners_[path] = first;
    }
}

::onnx::ModelProto Exporter::run() {
  const NoGrad guard;
  types_ = value_types(graph_);
  choose_opset();
  describe();
  name_values();
  declare_inputs();
  for (const Node* node : graph_.nodes()) write(*node);
  check_all_written();
  declare_outputs();
  remove_unused();
  report_.nodes = proto().node_size();
  return std::move(model_);
}

void Exporter::choose_opset() {
  report_.opset = std::max(options_.opset, kLeastOpset);
  const Node* neediest = nullptr;
  for (const Node* node : graph_.nodes()) {
    const ExportHandler* handler = export_handler_of(export_type_of(graph_, *node));
    if (!handler || !handler->least_opset) continue;
    const int64_t least = handler->least_opset(*this, *node);
    if (least <= report_.opset) continue;
    report_.opset = least;
    neediest = node;
  }
  check<ValueError>(options_.opset == 0 || report_.opset == options_.opset, "export: opset ", options_.opset,
                    " has no form of ", neediest ? detail::quote(neediest->name) : "", ", a ",
                    neediest ? export_type_of(graph_, *neediest) : "", "; it takes opset ", report_.opset);
}

void Exporter::describe() {
  model_.set_ir_version(kIrVersions[report_.opset - kLeastOpset]);
  model_.set_producer_name("thimble");
  auto& opset = *model_.add_opset_import();
  opset.set_domain("");
  opset.set_version(report_.opset);
  for (const auto& [key, value] : options_.metadata) {
    auto& entry = *model_.add_metadata_props();
    entry.set_key(key);
    entry.set_value(value);
  }
  proto().set_name("graph");
}

// Inputs and outputs have theirs; what is no output must not take one of those.
void Exporter::name_values() {
  for (const Node* input : graph_.inputs()) names_[input] = unique_name(input->name);
  for (const nn::GraphOutput& output : graph_.outputs()) {
    const bool is_input = output.node->kind == Node::Kind::input && output.node->name == output.name;
    check<ValueError>(is_input || taken_.insert(output.name).second, "export: the output ", detail::quote(output.name),
                      " has the name of an input");
    names_.emplace(output.node, output.name);
  }
  for (const Node* node : graph_.nodes())
    if (!names_.contains(node)) names_[node] = unique_name(node->name);
}

std::string Exporter::unique_name(const std::string& wanted) {
  std::string name = wanted;
  for (int i = 1; !taken_.insert(name).second; ++i) name = str(wanted, '_', i);
  return name;
}

void Exporter::write(const Node& node) {
  if (node.kind == Node::Kind::input) return;
  if (node.kind == Node::Kind::tensor) {
    *proto().add_initializer() = tensor_of(names_.at(&node), graph_.tensor(&node).data());
    return;
  }
  const ExportHandler* handler = export_handler_of(export_type_of(graph_, node));
  if (!handler) return refuse(node, "");
  try {
    written_attributes_.clear();
    handler->write(*this, node);
    for (const std::string& key : nn::attribute_inputs(node))
      require(written_attributes_.contains(key), "its attribute '", key, "' is computed");
  } catch (const NotExportable& e) {
    return refuse(node, e.what());
  } catch (const FormatError&) {  // an attribute that is missing, since it is computed
    const std::vector<std::string> computed = nn::attribute_inputs(node);
    if (computed.empty()) throw;
    return refuse(node, str("its attribute '", computed[0], "' is computed"));
  }
  if (!qparams_.contains(&node) && !node.inputs.empty())
    if (const auto it = qparams_.find(node.inputs[0]); it != qparams_.end())
      qparams_.emplace(&node, quant::TensorQParams(it->second));
}

void Exporter::refuse(const Node& node, const std::string& reason) {
  const std::string type = export_type_of(graph_, node);
  auto known = std::ranges::find_if(refused_, [&](const Refused& r) { return r.type == type && r.reason == reason; });
  if (known == refused_.end()) known = refused_.insert(known, {type, reason, {}});
  known->nodes.push_back(node.name);
}

void Exporter::check_all_written() const {
  if (refused_.empty()) return;
  constexpr size_t kShown = 3;
  std::string list;
  for (const Refused& refused : refused_) {
    const std::vector<std::string>& nodes = refused.nodes;
    list += (list.empty() ? "" : ", ") + refused.type + " (";
    for (size_t i = 0; i < std::min(nodes.size(), kShown); ++i) list += (i > 0 ? ", " : "") + detail::quote(nodes[i]);
    if (nodes.size() > kShown) list += str(" and ", nodes.size() - kShown, " more");
    list += (refused.reason.empty() ? "" : ": " + refused.reason) + ")";
  }
  throw ValueError("export: ONNX has no form of " + list);
}

// A default is an initializer of the same name.
void Exporter::declare_inputs() {
  for (const Node* input : graph_.inputs()) {
    declare(*proto().add_input(), names_.at(input), type_of(*input));
    const Tensor known = graph_.default_of(input);
    if (known.defined()) *proto().add_initializer() = tensor_of(names_.at(input), known.data());
  }
}

void Exporter::declare_outputs() {
  for (const nn::GraphOutput& output : graph_.outputs()) {
    const std::string value = value_of(*output.node);
    if (value != output.name) add_node("Identity", {value}, {output.name}, {});
    declare(*proto().add_output(), output.name, type_of(*output.node));
  }
}

// Nodes whose results nobody reads, such as clamps that integers imply, and arrays.
void Exporter::remove_unused() {
  std::set<std::string> used;
  for (const auto& input : proto().input()) used.insert(input.name());
  for (const auto& output : proto().output()) used.insert(output.name());
  std::vector<::onnx::NodeProto> kept;
  for (int i = proto().node_size() - 1; i >= 0; --i) {
    ::onnx::NodeProto& node = *proto().mutable_node(i);
    if (std::ranges::none_of(node.output(), [&](const std::string& name) { return used.contains(name); })) continue;
    used.insert(node.input().begin(), node.input().end());
    kept.push_back(std::move(node));
  }
  proto().clear_node();
  for (auto node = kept.rbegin(); node != kept.rend(); ++node) *proto().add_node() = std::move(*node);
  auto& arrays = *proto().mutable_initializer();
  arrays.erase(std::remove_if(arrays.begin(), arrays.end(), [&](const auto& a) { return !used.contains(a.name()); }),
               arrays.end());
}

int64_t Exporter::axis_of(const Node& node, int64_t axis, int more) const {
  return normalize_axis(axis, input_type(node, 0).rank() + more, node.target.c_str());
}

std::string Exporter::value_of(const Node& node) {
  const auto condition = conditions_.find(&node);
  if (condition != conditions_.end() && numbers_.insert(&node).second)
    add_node("Cast", {condition->second}, {names_.at(&node)}, {{"to", int64_t{onnx_type(DType::uint8)}}});
  return names_.at(&node);
}

std::string Exporter::input(const Node& node, size_t i) { return value_of(*node.inputs.at(i)); }

std::string Exporter::input_as_bool(const Node& node, size_t i) {
  const Node* value = node.inputs.at(i);
  if (const auto it = conditions_.find(value); it != conditions_.end()) return it->second;
  if (type_of(*value).dtype == DType::bool_) return value_of(*value);
  return step(node, "Cast", {value_of(*value)}, {{"to", int64_t{onnx_type(DType::bool_)}}});
}

size_t Exporter::num_operands(const Node& node) const { return node.inputs.size() - nn::attribute_inputs(node).size(); }

std::vector<std::string> Exporter::operands(const Node& node) {
  std::vector<std::string> names;
  for (size_t i = 0; i < num_operands(node); ++i) names.push_back(input(node, i));
  return names;
}

std::string Exporter::computed_attribute(const Node& node, const std::string& key) {
  const std::vector<std::string> computed = nn::attribute_inputs(node);
  const auto it = std::ranges::find(computed, key);
  if (it == computed.end()) return "";
  written_attributes_.insert(key);
  const size_t at = num_operands(node) + static_cast<size_t>(it - computed.begin());
  const ValueType& type = input_type(node, at);
  std::string value = input(node, at);
  if (type.dtype != DType::int64) value = step(node, "Cast", {value}, {{"to", int64_t{onnx_type(DType::int64)}}});
  return type.rank() == 1 ? value : step(node, "Reshape", {value, integers({1})});
}

std::string Exporter::list_attribute(const Node& node, const std::string& key) {
  const std::string computed = computed_attribute(node, key);
  return computed.empty() ? integers(node.attributes.get<std::vector<int64_t>>(key)) : computed;
}

std::string Exporter::integer_attribute(const Node& node, const std::string& key) {
  const std::string computed = computed_attribute(node, key);
  return computed.empty() ? integers({node.attributes.get<int64_t>(key)}) : computed;
}

std::string Exporter::step(const Node& node, const std::string& op, const std::vector<std::string>& inputs,
                           const Attributes& attributes) {
  const std::string output = unique_name(str(names_.at(&node), '.', op));
  add_node(op, inputs, {output}, attributes);
  return output;
}

std::vector<std::string> Exporter::steps(const Node& node, const std::string& op, size_t outputs,
                                         const std::vector<std::string>& inputs, const Attributes& attributes) {
  std::vector<std::string> names;
  for (size_t i = 0; i < outputs; ++i) names.push_back(unique_name(str(names_.at(&node), '.', op)));
  add_node(op, inputs, names, attributes);
  return names;
}

const std::string& Exporter::result(const Node& node, const std::string& op, const std::vector<std::string>& inputs,
                                    const Attributes& attributes) {
  add_node(op, inputs, {names_.at(&node)}, attributes);
  return names_.at(&node);
}

void Exporter::result_is(const Node& node, const std::string& value) {
  if (graph_.is_output(&node))
    result(node, "Identity", {value});
  else
    names_[&node] = value;
}

void Exporter::result_is_bool(const Node& node, const std::string& value) { conditions_[&node] = value; }

void Exporter::note_clamp(const std::string& value, const std::string& x, double low, double high) {
  clamps_[value] = {x, low, high};
}

std::string Exporter::without_clamps(const std::string& value, const quant::TensorQParams& p) const {
  const auto it = clamps_.find(value);
  if (it == clamps_.end()) return value;
  const auto integer = [&](double bound) { return std::nearbyint(bound / double{p.scale}) + p.zero_point; };
  const bool implied = integer(it->second.low) <= 0 && integer(it->second.high) >= p.qmax();
  return implied ? without_clamps(it->second.x, p) : value;
}

const quant::TensorQParams& Exporter::qparams_of(const Node& node) const {
  const auto it = qparams_.find(&node);
  require(it != qparams_.end(), "nobody knows what its integers stand for");
  return it->second;
}

void Exporter::add_node(const std::string& op, const std::vector<std::string>& inputs,
                        const std::vector<std::string>& outputs, const Attributes& attributes) {
  ::onnx::NodeProto& node = *proto().add_node();
  node.set_name(outputs[0]);
  node.set_op_type(op);
  for (const std::string& input : inputs) node.add_input(input);
  for (const std::string& output : outputs) node.add_output(output);
  for (const auto& [key, value] : attributes) {
    AttributeProto& attribute = *node.add_attribute();
    attribute.set_name(key);
    std::visit(AttributeWriter{attribute}, value);
  }
}

std::string Exporter::constant(const std::string& wanted_name, const NDArray& array) {
  constexpr int64_t kSmall = 64;
  ::onnx::TensorProto tensor = tensor_of("", array);
  const std::string key = array.nbytes() <= kSmall ? "=" + tensor.SerializeAsString() : "";
  if (const auto it = tensors_.find(key); !key.empty() && it != tensors_.end()) return it->second;
  const std::string name = unique_name(wanted_name);
  tensor.set_name(name);
  *proto().add_initializer() = std::move(tensor);
  if (!key.empty()) tensors_[key] = name;
  return name;
}

std::string Exporter::number(double value, DType dtype) {
  return constant(str("constant.", value), NDArray::full({}, value, dtype));
}

std::string Exporter::integers(const std::vector<int64_t>& values) {
  return constant("constant.integers", NDArray::from_vector(values));
}

// What nodes call a layer with may differ, and with it how its arrays lie.
std::string Exporter::array_of(const Node& node, const std::string& part, ::onnx::TensorProto array) {
  const bool is_layer = node.kind == Node::Kind::layer;
  const std::string& owner = is_layer ? node.target : node.name;
  const auto shared = is_layer ? weight_owners_.find(owner) : weight_owners_.end();
  const std::string& known_by = shared == weight_owners_.end() ? owner : shared->second;
  std::vector<int>& known = arrays_[str(is_layer ? "layer " : "node ", known_by, '.', part)];
  for (const int i : known)
    if (is_same_array(proto().initializer(i), array)) return proto().initializer(i).name();
  known.push_back(proto().initializer_size());
  array.set_name(unique_name(owner + '.' + part));
  *proto().add_initializer() = std::move(array);
  return proto().initializer(known.back()).name();
}

std::string Exporter::tensor(const Node& node, const std::string& part, const NDArray& array) {
  return array_of(node, part, tensor_of("", array));
}

std::string Exporter::packed(const Node& node, const std::string& part, const NDArray& integers, int bits) {
  return array_of(node, part, packed_tensor("", integers, bits));
}

void Exporter::needs_session_option(const ExportReport::SessionOption& option) {
  const auto& known = report_.session_options;
  if (std::ranges::count(known, option.key, &ExportReport::SessionOption::key) == 0)
    report_.session_options.push_back(option);
}

}  // namespace thimble::onnx
