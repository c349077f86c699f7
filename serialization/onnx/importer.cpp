#include <algorithm>
#include <optional>
#include <set>

#include <thimble/core/text.h>
#include <thimble/nn/graph/attribute_inputs.h>
#include <thimble/nn/graph/passes.h>
#include <thimble/nn/graph/sample.h>
#include <thimble/serialization/onnx/handlers.h>
#include <thimble/serialization/onnx/importer.h>
#include <thimble/serialization/onnx/model_file.h>
#include <thimble/serialization/onnx/patterns.h>
#include <thimble/serialization/onnx/tensor_array.h>

namespace thimble::onnx {

namespace {

Handlers all_handlers() {
  Handlers handlers;
  add_activations(handlers);
  add_arithmetic(handlers);
  add_branches(handlers);
  add_contrib_activations(handlers);
  add_constants(handlers);
  add_indexing(handlers);
  add_layers(handlers);
  add_losses(handlers);
  add_norms(handlers);
  add_pools(handlers);
  add_quantization(handlers);
  add_quantized_ops(handlers);
  add_products(handlers);
  add_recurrent(handlers);
  add_reductions(handlers);
  add_resizing(handlers);
  add_shapes(handlers);
  add_slices(handlers);
  return handlers;
}

// Names of nodes go into files and onto terminals.
std::string plain(const std::string& name) {
  constexpr size_t kLongest = 200;
  return detail::printable(name, kLongest);
}

Attribute attribute_of(const NDArray& value) {
  const bool is_list = value.ndim() > 0;
  if (is_differentiable(value.dtype()))
    return is_list ? Attribute(value.to_vector<double>()) : Attribute(value.item<double>());
  return is_list ? Attribute(value.to_vector<int64_t>()) : Attribute(value.item<int64_t>());
}

// Elements that lie in memory: broadcast ones count once.
double stored(const NDArray& x) {
  double count = 1;
  for (int d = 0; d < x.ndim(); ++d)
    if (x.strides()[d] != 0) count *= static_cast<double>(x.shape(d));
  return count;
}

double elements_of(const Shape& shape) {
  double count = 1;
  for (const int64_t size : shape) count *= static_cast<double>(size);
  return count;
}

// How many elements an op gives at most, as a rule; those that make more by their attributes are asked elsewhere.
double most_elements(const std::string& op, const std::vector<Value>& operands) {
  if (op.ends_with("quantize_linear")) return elements_of(operands[0].constant.shape());
  double largest = 0, product = 1;
  Shape all;
  bool broadcasts = true;
  for (const Value& operand : operands) {
    const Shape& shape = operand.constant.shape();
    largest = std::max(largest, elements_of(shape));
    product *= elements_of(shape);
    try {
      if (broadcasts) all = broadcast_shapes(all, shape, op);
    } catch (const ShapeError&) {
      broadcasts = false;
    }
  }
  constexpr std::string_view kProducts[] = {"einsum", "gather_nd", "grid_sample", "gru",
                                            "lstm",   "matmul",    "rnn",         "take"};
  if (std::ranges::find(kProducts, op) != std::end(kProducts)) return product;
  return broadcasts ? elements_of(all) : largest;
}

// A few bytes of a file may ask for any number of elements.
bool may_be_folded(const std::string& op, const std::vector<Value>& operands) {
  double given = 0;
  for (const Value& operand : operands) given += stored(operand.constant);
  return most_elements(op, operands) <= std::max(kMostFolded, 2 * given);
}

// Sizes are reckoned with by these, which give lists as long as they get.
bool is_elementwise(const std::string& op) {
  static const std::set<std::string> kOps = {"abs",       "add",   "cast",    "ceil",    "clamp",   "div", "equal",
                                             "floor",     "fmod",  "greater", "maximum", "minimum", "mul", "neg",
                                             "remainder", "round", "sqrt",    "sub",     "where"};
  return kOps.contains(op);
}

// Of lists and numbers; -1 if nobody knows.
int64_t common_length(const std::vector<Value>& operands) {
  int64_t length = 1;
  for (const Value& operand : operands) {
    const int64_t own = operand.constant.defined() ? operand.constant.numel() : operand.rank == 0 ? 1 : operand.length;
    if (own < 0) return -1;
    if (own != 1) length = own;
  }
  return length;
}

constexpr int64_t kFree = -1, kFirstIrOfDefaults = 4;

// Of an input, as it is declared.
std::vector<int64_t> sizes_of(const ::onnx::ValueInfoProto& info) {
  std::vector<int64_t> sizes;
  for (const auto& dim : info.type().tensor_type().shape().dim())
    sizes.push_back(dim.dim_value() > 0 ? dim.dim_value() : kFree);
  return sizes;
}

}  // namespace

Handler handler_of(const std::string& op) {
  static const Handlers handlers = all_handlers();
  const auto it = handlers.find(op);
  return it == handlers.end() ? nullptr : it->second;
}

Importer::Model::Model(const ::onnx::ModelProto& model, DataFiles model_files, const ImportOptions& import_options)
    : proto(model), files(std::move(model_files)), options(import_options), functions(model) {}

Importer::Importer(const ::onnx::ModelProto& model, DataFiles files, const ImportOptions& options)
    : model_(std::make_shared<Model>(model, std::move(files), options)), graph_(own_graph_) {}

Importer::Importer(Importer& outer, const std::string& prefix, Into into)
    : model_(outer.model_),
      outer_(&outer),
      call_(outer.call_),
      prefix_(into == Into::outer_graph ? outer.prefix_ + prefix : std::string()),
      depth_(outer.depth_ + 1),
      graph_(into == Into::outer_graph ? outer.graph_ : own_graph_) {
  constexpr int kDeepest = 32;
  check<FormatError>(depth_ <= kDeepest, "graphs and functions lie within one another more than ", kDeepest, " deep");
}

nn::Graph Importer::run() {
  const NoGrad guard;
  const ::onnx::GraphProto& proto = model_->proto.graph();
  const int64_t opset = opset_of(model_->proto);
  check_ops_are_covered();
  read_initializers(proto);
  add_inputs(proto);
  import_nodes(proto.node(), opset);
  set_outputs(proto);
  if (model_->options.integer_layers) use_integer_layers(graph_, model_->quantized, model_->options.report);
  graph_.eliminate_dead_nodes();
  recognize_patterns(graph_, model_->ranks);
  graph_.verify();
  graph_.eval();
  return std::move(graph_);
}

void Importer::import_nodes(const Nodes& nodes, int64_t opset) {
  for (const ::onnx::NodeProto& proto : nodes) {
    if (!call_.node)
      import_node(proto, opset);
    else
      import_node(with_attributes_of_call(proto, *call_.node, *call_.function), opset);
  }
}

void Importer::import_node(const ::onnx::NodeProto& proto, int64_t opset) {
  if (const ::onnx::FunctionProto* function = model_->functions.find(proto))
    return call_function(proto, *function, opset);
  const OnnxNode node(proto, opset, model_->files);
  try {
    const Handler handler = handler_of(node.op());
    node.require(handler, "the op is not covered");
    handler(*this, node);
    node.check_all_read();
  } catch (const FormatError&) {
    throw;
  } catch (const IOError&) {
    throw;
  } catch (const Error& e) {
    throw FormatError(str(node.label(), ": ", e.what()));
  }
}

// Its body becomes nodes of this graph. It sees its own names alone.
void Importer::call_function(const ::onnx::NodeProto& proto, const ::onnx::FunctionProto& function, int64_t opset) {
  constexpr int64_t kMostNodes = 1000000;  // functions that call functions grow without end
  const OnnxNode node(proto, opset, model_->files);
  model_->expanded_nodes += function.node_size();
  node.require(model_->expanded_nodes <= kMostNodes, "the model's functions have more than ", kMostNodes, " nodes");
  node.require(proto.input_size() <= function.input_size() && proto.output_size() <= function.output_size(),
               "the function has ", function.input_size(), " inputs and ", function.output_size(),
               " outputs, the node ", proto.input_size(), " and ", proto.output_size());
  Importer body(*this, (node.name().empty() ? node.output(0) : node.name()) + '/', Into::outer_graph);
  for (size_t i = 0; i < node.num_inputs(); ++i)
    if (has_input(node, i)) body.values_[function.input(static_cast<int>(i))] = input(node, i);
  body.outer_ = nullptr;
  body.call_ = {&proto, &function};
  body.import_nodes(function.node(), opset_of(function, opset));
  for (size_t i = 0; i < node.num_outputs(); ++i) {
    if (node.output(i).empty()) continue;
    const Value* value = body.find(function.output(static_cast<int>(i)));
    node.require(value, "the function does not compute its output ", i);
    set(node, i, *value);
  }
}

// Of what arrays do not tell: integers of 4 bits lie in bytes.
void Importer::note_types(const ::onnx::GraphProto& proto) {
  for (const ::onnx::ValueInfoProto& info : proto.input())
    note_type(info.name(), info.type().tensor_type().elem_type());
  for (const ::onnx::TensorProto& tensor : proto.initializer()) note_type(tensor.name(), tensor.data_type());
  for (const ::onnx::NodeProto& node : proto.node())
    for (const ::onnx::AttributeProto& attribute : node.attribute())
      if (node.op_type() == "Constant" && attribute.name() == "value" && node.output_size() > 0)
        note_type(node.output(0), attribute.t().data_type());
}

int32_t Importer::declared_type(const std::string& name) const {
  if (const auto it = types_.find(name); it != types_.end()) return it->second;
  return outer_ ? outer_->declared_type(name) : 0;
}

void Importer::keep_untrained(const OnnxNode& node, size_t i) {
  if (find(node.input(i))) values_.at(node.input(i)).is_weight = false;
}

void Importer::note_dequantized(const NDArray& array, DequantizedConstant from) {
  if (array.numel() > 0)
    model_->dequantized[array.address()] = {array, std::make_shared<const DequantizedConstant>(std::move(from))};
}

std::shared_ptr<const DequantizedConstant> Importer::dequantized_from(const OnnxNode& node, size_t i) {
  const Value* value = find(node.input(i));
  if (!value || !value->constant.defined()) return nullptr;
  const auto it = model_->dequantized.find(value->constant.address());
  return it == model_->dequantized.end() ? nullptr : it->second.second;
}

Value Importer::as_node(const OnnxNode& node, Value value) {
  if (!value.node) node_of(value, name_for(node, "constant"));
  value.constant = NDArray();
  return value;
}

void Importer::check_ops_are_covered() const {
  std::map<std::string, std::vector<std::string>> missing;
  model_->functions.for_each_op(model_->proto.graph(), [&](const ::onnx::NodeProto& proto) {
    const std::string op = qualified_op(proto);
    if (!handler_of(op))
      missing[op].push_back(proto.name().empty() && proto.output_size() > 0 ? proto.output(0) : proto.name());
  });
  if (missing.empty()) return;
  constexpr size_t kShown = 3;
  std::string list;
  for (const auto& [op, nodes] : missing) {
    list += (list.empty() ? "" : ", ") + detail::printable(op, 80) + " (";
    for (size_t i = 0; i < std::min(nodes.size(), kShown); ++i) list += (i > 0 ? ", " : "") + detail::quote(nodes[i]);
    list += nodes.size() > kShown ? str(" and ", nodes.size() - kShown, " more)") : ")";
  }
  throw FormatError(str("these ops are not covered: ", list));
}

void Importer::read_initializers(const ::onnx::GraphProto& proto) {
  check<FormatError>(proto.sparse_initializer_size() == 0, "sparse initializers are not covered");
  note_types(proto);
  for (const ::onnx::TensorProto& tensor : proto.initializer()) {
    NDArray array = array_of(tensor, model_->files);
    const int rank = array.ndim();
    if (array.numel() > 0) constants_.emplace(array.address(), tensor.name());
    const bool is_new = values_.emplace(tensor.name(), Value{std::move(array), nullptr, rank, true}).second;
    check<FormatError>(is_new, "there are two initializers named ", detail::quote(tensor.name()));
  }
}

// In models of before IR 4 initializers are among the inputs. Since then one that is among them is a default, which
// whoever runs the model may override.
void Importer::add_inputs(const ::onnx::GraphProto& proto) {
  std::set<std::string> names;
  for (const ::onnx::ValueInfoProto& info : proto.input()) {
    names.insert(info.name());
    if (!values_.contains(info.name()))
      add_input(info);
    else if (model_->proto.ir_version() >= kFirstIrOfDefaults)
      make_default(info.name());
  }
  const auto check_name = [&](const std::string& name) {
    check<ValueError>(names.contains(name), "there is no input ", detail::quote(name));
  };
  for (const auto& [name, shape] : model_->options.shapes) check_name(name);
  for (const auto& [name, value] : model_->options.values) check_name(name);
}

void Importer::make_default(const std::string& name) {
  Value& value = values_.at(name);
  constants_.erase(value.constant.address());
  nn::Node* node = graph_.add_input(plain(name), Tensor(value.constant));
  model_->ranks[node] = value.rank;
  value = {{}, node, value.rank, false};
}

void Importer::add_input(const ::onnx::ValueInfoProto& info) {
  check<FormatError>(info.type().has_tensor_type() && info.type().tensor_type().has_shape(), "the input ",
                     detail::quote(info.name()), " is no tensor of a known number of dimensions");
  const auto& type = info.type().tensor_type();
  const DType dtype = dtype_from_onnx(type.elem_type());
  const std::vector<int64_t> sizes = sizes_of(info);
  if (const auto fixed = model_->options.values.find(info.name()); fixed != model_->options.values.end()) {
    check<ValueError>(sizes.empty() || sizes == std::vector<int64_t>{1}, "the input ", detail::quote(info.name()),
                      " is no single number");
    values_[info.name()] = known(NDArray::full(Shape(sizes), fixed->second, dtype));
    return;
  }
  nn::Node* node = graph_.add_input(plain(info.name()));
  if (dtype != DType::float32) model_->quantized.other_inputs.insert(node);
  if (const std::optional<Shape> example = example_shape(info, sizes))
    node->attributes = nn::sample_attributes(Tensor(NDArray::placeholder(*example, dtype)));
  model_->ranks[node] = static_cast<int>(sizes.size());
  Value value{{}, node, static_cast<int>(sizes.size()), false};
  if (sizes.size() == 1 && sizes[0] != kFree) value.length = sizes[0];
  values_[info.name()] = value;
}

// The sizes of an example, with a batch of one; none where the file and the options leave some free.
std::optional<Shape> Importer::example_shape(const ::onnx::ValueInfoProto& info, std::vector<int64_t> sizes) const {
  if (const auto given = model_->options.shapes.find(info.name()); given != model_->options.shapes.end()) {
    const std::vector<int64_t> wanted = given->second.to_vector();
    const bool fits = std::ranges::equal(wanted, sizes, [](int64_t size, int64_t declared) {
      return size >= 1 && (declared == kFree || declared == size);
    });
    check<ValueError>(fits, "the input ", detail::quote(info.name()), " cannot have the shape ", given->second);
    sizes = wanted;
  }
  if (sizes.empty() || sizes.size() > Shape::kMaxDims) return std::nullopt;
  sizes[0] = 1;
  if (std::ranges::find(sizes, kFree) != sizes.end()) return std::nullopt;
  return Shape(sizes);
}

void Importer::set_outputs(const ::onnx::GraphProto& proto) {
  std::vector<nn::GraphOutput> outputs;
  for (const ::onnx::ValueInfoProto& info : proto.output()) {
    check<FormatError>(find(info.name()), "no node computes the output ", detail::quote(info.name()));
    outputs.push_back({plain(info.name()), output_node(info, values_.at(info.name()))});
  }
  check<FormatError>(!outputs.empty(), "it has no output");
  graph_.set_outputs(std::move(outputs));
}

// What a file declares as of 16 bits is float32 up to here, and has their numbers from here on.
nn::Node* Importer::output_node(const ::onnx::ValueInfoProto& info, Value& value) {
  nn::Node* node = node_of(value, info.name());
  const int32_t type = info.type().tensor_type().elem_type();
  const bool is_float16 = type == ::onnx::TensorProto::FLOAT16;
  if (!is_float16 && type != ::onnx::TensorProto::BFLOAT16) return node;
  const std::string dtype(name(is_float16 ? DType::float16 : DType::bfloat16));
  return graph_.add_op(plain(info.name() + ".rounded"), "rounded_to", {{"dtype", dtype}}, {node});
}

Subgraph Importer::import_subgraph(const OnnxNode& node, const std::string& key) {
  const ::onnx::GraphProto& proto = node.graph(key);
  node.require(proto.input_size() == 0, "the graph '", key, "' has inputs");
  Importer inner(*this, "", Into::own_graph);
  inner.read_initializers(proto);
  inner.import_nodes(proto.node(), node.opset());
  inner.set_outputs(proto);
  if (model_->options.integer_layers) use_integer_layers(inner.graph_, model_->quantized, model_->options.report);
  recognize_patterns(inner.graph_, model_->ranks);
  Subgraph result{std::move(inner.graph_), std::move(inner.captured_), {}};
  for (const ::onnx::ValueInfoProto& info : proto.output()) result.ranks.push_back(inner.values_.at(info.name()).rank);
  return result;
}

void Importer::inline_subgraph(const OnnxNode& node, const std::string& key) {
  const ::onnx::GraphProto& proto = node.graph(key);
  node.require(proto.input_size() == 0, "the graph '", key, "' has inputs");
  node.require(static_cast<size_t>(proto.output_size()) == node.num_outputs(), "the graph '", key, "' has ",
               proto.output_size(), " outputs, the node ", node.num_outputs());
  Importer inner(*this, node.output(0) + '/', Into::outer_graph);
  inner.read_initializers(proto);
  inner.import_nodes(proto.node(), node.opset());
  for (size_t i = 0; i < node.num_outputs(); ++i) {
    const Value* value = inner.find(proto.output(static_cast<int>(i)).name());
    node.require(value, "no node computes the output ", i, " of the graph '", key, "'");
    set(node, i, *value);
  }
}

// A value of the graph around this one comes in as an input, unless it is known.
const Value* Importer::find(const std::string& name) {
  if (const auto it = values_.find(name); it != values_.end()) return &it->second;
  const Value* outside = outer_ ? outer_->find(name) : nullptr;
  if (!outside) return nullptr;
  Value own = *outside;
  const bool is_elsewhere = &graph_ != &outer_->graph_;
  if (is_elsewhere) own.node = nullptr;
  if (is_elsewhere && !own.constant.defined()) {
    own.node = graph_.add_input(plain(name));
    captured_.push_back(*outside);
    model_->ranks[own.node] = own.rank;
  } else if (own.constant.defined() && own.constant.numel() > 0) {
    constants_.emplace(own.constant.address(), name);
  }
  return &values_.emplace(name, std::move(own)).first->second;
}

bool Importer::is_defined(const std::string& name) const {
  return values_.contains(name) || (outer_ && outer_->is_defined(name));
}

const Value& Importer::input(const OnnxNode& node, size_t i) {
  node.require(has_input(node, i), "its input ", i, " is missing");
  const Value* value = find(node.input(i));
  node.require(value, "its input ", detail::quote(node.input(i)),
               " is neither an input of the model, nor an initializer, nor computed before");
  return *value;
}

const NDArray& Importer::constant(const OnnxNode& node, size_t i, const char* what) {
  const Value& value = input(node, i);
  node.require(value.constant.defined(), "its input '", what,
               "' is computed, which is not covered; expected a constant");
  return value.constant;
}

std::vector<int64_t> Importer::constant_integers(const OnnxNode& node, size_t i, const char* what) {
  return constant(node, i, what).to_vector<int64_t>();
}

double Importer::constant_number(const OnnxNode& node, size_t i, const char* what) {
  const NDArray& value = constant(node, i, what);
  node.require(value.numel() == 1, "its input '", what, "' has ", value.numel(), " elements, expected one");
  return value.item<double>();
}

std::string Importer::name_for(const OnnxNode& node, const std::string& what) const {
  return plain(prefix_ + (node.output(0).empty() ? node.op() : node.output(0)) + '.' + what);
}

nn::Node* Importer::node_of(Value& value, const std::string& wanted_name) {
  if (value.node) return value.node;
  const bool is_trained = value.is_weight && is_differentiable(value.constant.dtype());
  return value.node = graph_.add_tensor(plain(wanted_name), Tensor(value.constant, is_trained));
}

// Operands of one value share its node.
std::vector<nn::Node*> Importer::nodes_of(const OnnxNode& node, std::span<const Value> operands) {
  std::vector<nn::Node*> nodes;
  for (const Value& operand : operands) {
    Value own = operand;
    const auto known_as = own.node ? constants_.end() : constants_.find(own.constant.address());
    Value* held = known_as == constants_.end() ? nullptr : &values_.at(known_as->second);
    const bool is_same = held && held->constant.shape() == own.constant.shape();  // not a view of it
    nodes.push_back(is_same ? node_of(*held, known_as->second) : node_of(own, name_for(node, "constant")));
  }
  return nodes;
}

Value Importer::apply(const OnnxNode& node, const std::string& op, Attributes attributes,
                      const std::vector<Value>& operands, int rank) {
  return apply_with(node, op, std::move(attributes), operands, {}, rank);
}

Value Importer::apply_with(const OnnxNode& node, const std::string& op, Attributes attributes,
                           const std::vector<Value>& operands,
                           const std::vector<std::pair<std::string, Value>>& attribute_values, int rank) {
  std::vector<Value> all = operands;
  std::string keys;
  for (const auto& [key, value] : attribute_values) {
    if (value.constant.defined()) {
      attributes.set(key, attribute_of(value.constant));
      continue;
    }
    keys += (keys.empty() ? "" : ",") + key;
    all.push_back(value);
  }
  if (rank < 0) {
    for (const Value& operand : operands) rank = std::max(rank, operand.rank);
    if (std::ranges::any_of(operands, [](const Value& v) { return v.rank < 0; })) rank = -1;
  }
  const bool all_known = std::ranges::all_of(all, [](const Value& v) { return v.constant.defined(); });
  if (all_known && may_be_folded(op, operands)) {
    std::vector<Tensor> tensors;
    for (const Value& operand : operands) tensors.emplace_back(operand.constant);
    const NDArray result = thimble::apply(make_op(op, attributes), std::move(tensors)).data();
    // A view that repeats what it has would be written out when the graph is saved.
    if (elements_of(result.shape()) <= std::max(kMostFolded, 2 * stored(result))) return known(result);
  }
  if (!keys.empty()) attributes.set(nn::kAttributeInputs, keys);
  nn::Node* added = graph_.add_op(name_for(node, op), op, std::move(attributes), nodes_of(node, all));
  model_->ranks[added] = rank;
  return {{}, added, rank, false, rank == 1 && is_elementwise(op) ? common_length(operands) : -1};
}

Value Importer::call(const OnnxNode& node, const std::string& type, const Attributes& attributes,
                     const NamedArrays& tensors, const std::vector<Value>& operands, int rank) {
  std::shared_ptr<nn::Module> layer = nn::make_layer(type, attributes);
  layer->load_state(tensors);
  return call(node, std::move(layer), operands, rank);
}

Value Importer::call(const OnnxNode& node, std::shared_ptr<nn::Module> layer, const std::vector<Value>& operands,
                     int rank) {
  layer->eval();
  nn::Node* added = graph_.add_layer(plain(prefix_ + node.output(0)), std::move(layer), nodes_of(node, operands));
  model_->ranks[added] = rank;
  if (auto weight = dequantized_from(node, 1))
    model_->quantized.products[added] = {std::move(weight), dequantized_from(node, 2)};
  return {{}, added, rank, false};
}

void Importer::set(const OnnxNode& node, size_t output, Value value) {
  if (node.output(output).empty()) return;
  // What follows goes through as many dimensions, of which a chain of a few nodes could have any number.
  node.require(value.rank <= Shape::kMaxDims, "its output ", detail::quote(node.output(output)), " has ", value.rank,
               " dimensions, more than ", Shape::kMaxDims);
  // What the node's last op or layer gives is known by the file's name.
  const std::string wanted = plain(prefix_ + node.output(output));
  if (value.node && value.node->name.starts_with(wanted + '.') && !graph_.find(wanted))
    graph_.rename(value.node, wanted);
  node.require(!is_defined(node.output(output)), "its output ", detail::quote(node.output(output)),
               " has been computed already");
  set_named(node.output(output), std::move(value));
}

void Importer::set_named(const std::string& name, Value value) {
  if (value.constant.defined() && value.constant.numel() > 0) constants_.emplace(value.constant.address(), name);
  const bool is_new = values_.emplace(name, std::move(value)).second;
  check<FormatError>(is_new, "there are two values named ", detail::quote(name));
}

}  // namespace thimble::onnx
