#include <algorithm>
#include <set>

#include <thimble/core/text.h>
#include <thimble/nn/graph/attribute_inputs.h>
#include <thimble/nn/graph/passes.h>
#include <thimble/serialization/onnx/equal_layers.h>
#include <thimble/serialization/onnx/folding.h>
#include <thimble/serialization/onnx/handlers.h>
#include <thimble/serialization/onnx/importer.h>
#include <thimble/serialization/onnx/model_file.h>
#include <thimble/serialization/onnx/patterns.h>

namespace thimble::onnx {

namespace {

constexpr int64_t kLongestAttribute = 4 * Shape::kMaxDims;  // of those that a model computes

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

}  // namespace

std::string plain(const std::string& name) {
  constexpr size_t kLongest = 200;
  return detail::printable(name, kLongest);
}

Importer::Model::Model(const ::onnx::ModelProto& model, DataFiles model_files, const ImportOptions& import_options,
                       double slack)
    : proto(model), files(std::move(model_files)), options(import_options), budget(model, slack), functions(model) {}

Importer::Importer(const ::onnx::ModelProto& model, DataFiles files, const ImportOptions& options, double slack)
    : model_(std::make_shared<Model>(model, std::move(files), options, slack)), graph_(own_graph_) {}

Importer::Importer(Importer& outer, const std::string& prefix, Into into)
    : model_(outer.model_),
      outer_(&outer),
      call_(outer.call_),
      prefix_(into == Into::outer_graph ? plain(outer.prefix_ + prefix) : std::string()),
      depth_(outer.depth_ + 1),
      graph_(into == Into::outer_graph ? outer.graph_ : own_graph_) {
  check_depth(depth_);
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
  if (model_->options.integer_layers)
    use_integer_layers(graph_, model_->quantized, model_->ranks, model_->options.report);
  graph_.eliminate_dead_nodes();
  recognize_patterns(graph_, model_->ranks);
  merge_equal_layers(graph_);
  graph_.verify();
  graph_.eval();
  return std::move(graph_);
}

void Importer::import_nodes(const Nodes& nodes, int64_t opset) {
  for (const ::onnx::NodeProto& proto : nodes) {
    if (!call_) {
      import_node(proto, opset);
      continue;
    }
    const ::onnx::NodeProto copy = call_->given_to(proto);
    hold(static_cast<double>(copy.ByteSizeLong()));
    import_node(copy, opset);
  }
}

void Importer::import_node(const ::onnx::NodeProto& proto, int64_t opset) {
  if (const ::onnx::FunctionProto* function = model_->functions.find(proto))
    return call_function(proto, *function, opset);
  const OnnxNode node(proto, opset);
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

void Importer::keep_untrained(const OnnxNode& node, size_t i) {
  if (Value* value = find(node.input(i))) value->is_weight = false;
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

// A value of the graph around this one comes in as an input, unless it is known.
Value* Importer::find(const std::string& name) {
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
  hold(ImportBudget::kNode);
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
  hold(ImportBudget::kNode + static_cast<double>(value.constant.nbytes()));
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
    // Not a view of it, such as the transpose of a square matrix.
    const bool is_same =
        held && held->constant.shape() == own.constant.shape() && held->constant.strides() == own.constant.strides();
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
      node.require(value.constant.numel() <= kLongestAttribute, "its ", key, " are ", value.constant.numel(),
                   " numbers, expected at most ", kLongestAttribute);
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
  hold(ImportBudget::kNode);
  if (std::ranges::all_of(all, [](const Value& v) { return v.constant.defined(); })) {
    std::vector<NDArray> arrays;
    for (const Value& operand : operands) arrays.push_back(operand.constant);
    if (const auto result = folded(op, attributes, arrays, model_->budget)) return known(*result);
  }
  if (!keys.empty()) attributes.set(nn::kAttributeInputs, keys);
  Value result = added(graph_.add_op(name_for(node, op), op, std::move(attributes), nodes_of(node, all)), rank);
  if (rank == 1 && is_elementwise(op)) result.length = common_length(operands);
  return result;
}

Value Importer::added(nn::Node* node, int rank) {
  model_->ranks[node] = rank;
  return {{}, node, rank, false};
}

Value Importer::call(const OnnxNode& node, const std::string& type, const Attributes& attributes,
                     const NamedArrays& tensors, const std::vector<Value>& operands, int rank) {
  for (const auto& [name, tensor] : tensors) hold(static_cast<double>(tensor.nbytes()));  // a copy in files, at least
  std::shared_ptr<nn::Module> layer = nn::make_layer(type, attributes);
  layer->load_state(tensors);
  return call(node, std::move(layer), operands, rank);
}

NDArray Importer::transposed(const NDArray& matrix) {
  if (!matrix.is_contiguous()) return matrix.transpose(0, 1).contiguous();
  auto& [kept, turned] = model_->transposed[{matrix.address(), matrix.shape()[0], matrix.shape()[1]}];
  if (!turned.defined()) {
    kept = matrix;
    turned = matrix.transpose(0, 1).contiguous();
  }
  return turned;
}

Value Importer::call(const OnnxNode& node, std::shared_ptr<nn::Module> layer, const std::vector<Value>& operands,
                     int rank) {
  layer->eval();
  hold(ImportBudget::kNode);
  Value result =
      added(graph_.add_layer(plain(prefix_ + node.output(0)), std::move(layer), nodes_of(node, operands)), rank);
  if (auto weight = dequantized_from(node, 1))
    model_->quantized.products[result.node] = {std::move(weight), dequantized_from(node, 2)};
  return result;
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
