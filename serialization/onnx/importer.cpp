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
#include <thimble/serialization/onnx/tensor_array.h>

namespace thimble::onnx {

namespace {

Handlers all_handlers() {
  Handlers handlers;
  add_activations(handlers);
  add_arithmetic(handlers);
  add_constants(handlers);
  add_indexing(handlers);
  add_layers(handlers);
  add_pools(handlers);
  add_products(handlers);
  add_reductions(handlers);
  add_shapes(handlers);
  add_slices(handlers);
  return handlers;
}

// Names of nodes go into files and onto terminals.
std::string plain(const std::string& name) {
  constexpr size_t kLongest = 200;
  return detail::printable(name, kLongest);
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
  if (op == "matmul" || op == "einsum" || op == "take" || op == "gather_nd") return product;
  return broadcasts ? elements_of(all) : largest;
}

// A few bytes of a file may ask for any number of elements.
bool may_be_folded(const std::string& op, const std::vector<Value>& operands) {
  double given = 0;
  for (const Value& operand : operands) given += stored(operand.constant);
  return most_elements(op, operands) <= std::max(kMostFolded, 2 * given);
}

constexpr int64_t kFree = -1;

// Of an input, as it is declared.
std::vector<int64_t> sizes_of(const ::onnx::ValueInfoProto& info) {
  std::vector<int64_t> sizes;
  for (const auto& dim : info.type().tensor_type().shape().dim())
    sizes.push_back(dim.dim_value() > 0 ? dim.dim_value() : kFree);
  return sizes;
}

// What sizes are reckoned with.
bool is_elementwise(const std::string& op) {
  static const std::set<std::string> ops{"abs", "add", "cast", "div", "maximum", "minimum", "mul", "neg", "sub", "where"};
  return ops.contains(op);
}

// Of lists that are broadcast together; kFree if it is not known.
int64_t common_length(std::span<const Value> lists) {
  int64_t length = 1;
  for (const Value& list : lists) {
    const int64_t own = list.constant.defined() ? list.constant.numel() : list.rank == 0 ? 1 : list.length;
    if (own == kFree) return kFree;
    length = std::max(length, own);
  }
  return length;
}

}  // namespace

Handler handler_of(const std::string& op) {
  static const Handlers handlers = all_handlers();
  const auto it = handlers.find(op);
  return it == handlers.end() ? nullptr : it->second;
}

Importer::Importer(const ::onnx::ModelProto& model, std::filesystem::path folder, const ImportOptions& options)
    : model_(model), folder_(std::move(folder)), options_(options), opset_(opset_of(model)) {}

nn::Graph Importer::run() {
  const NoGrad guard;
  check_ops_are_covered();
  read_initializers();
  add_inputs();
  for (const ::onnx::NodeProto& proto : model_.graph().node()) {
    const OnnxNode node(proto, opset_, folder_);
    try {
      handler_of(node.op())(*this, node);
      node.check_all_read();
    } catch (const FormatError&) {
      throw;
    } catch (const IOError&) {
      throw;
    } catch (const Error& e) {
      throw FormatError(str(node.label(), ": ", e.what()));
    }
  }
  set_outputs();
  graph_.eliminate_dead_nodes();
  graph_.verify();
  graph_.eval();
  return std::move(graph_);
}

void Importer::check_ops_are_covered() const {
  std::map<std::string, std::vector<std::string>> missing;
  for (const ::onnx::NodeProto& proto : model_.graph().node()) {
    const std::string op = qualified_op(proto);
    if (handler_of(op)) continue;
    missing[op].push_back(proto.name().empty() && proto.output_size() > 0 ? proto.output(0) : proto.name());
  }
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

void Importer::read_initializers() {
  check<FormatError>(model_.graph().sparse_initializer_size() == 0, "sparse initializers are not covered");
  for (const ::onnx::TensorProto& tensor : model_.graph().initializer()) {
    NDArray array = array_of(tensor, folder_);
    const int rank = array.ndim();
    if (array.numel() > 0) constants_.emplace(std::as_const(array).raw(), tensor.name());
    const bool is_new = values_.emplace(tensor.name(), Value{std::move(array), nullptr, rank, true}).second;
    check<FormatError>(is_new, "there are two initializers named ", detail::quote(tensor.name()));
  }
}

// In models of before IR 4 initializers are among the inputs.
void Importer::add_inputs() {
  std::set<std::string> names;
  for (const ::onnx::ValueInfoProto& info : model_.graph().input()) {
    names.insert(info.name());
    if (!values_.contains(info.name())) add_input(info);
  }
  const auto check_name = [&](const std::string& name) {
    check<ValueError>(names.contains(name), "there is no input ", detail::quote(name));
  };
  for (const auto& [name, shape] : options_.shapes) check_name(name);
  for (const auto& [name, value] : options_.values) check_name(name);
}

void Importer::add_input(const ::onnx::ValueInfoProto& info) {
  check<FormatError>(info.type().has_tensor_type() && info.type().tensor_type().has_shape(), "the input ",
                     detail::quote(info.name()), " is no tensor of a known number of dimensions");
  const auto& type = info.type().tensor_type();
  const DType dtype = dtype_from_onnx(type.elem_type());
  const std::vector<int64_t> sizes = sizes_of(info);
  if (const auto fixed = options_.values.find(info.name()); fixed != options_.values.end()) {
    check<ValueError>(sizes.empty() || sizes == std::vector<int64_t>{1}, "the input ", detail::quote(info.name()),
                      " is no single number");
    values_[info.name()] = known(NDArray::full(Shape(sizes), fixed->second, dtype));
    return;
  }
  nn::Node* node = graph_.add_input(plain(info.name()));
  if (const std::optional<Shape> example = example_shape(info, sizes))
    node->attributes = nn::sample_attributes(Tensor(NDArray::placeholder(*example, dtype)));
  Value& value = values_[info.name()] = {{}, node, static_cast<int>(sizes.size()), false};
  if (sizes.size() == 1 && type.shape().dim(0).has_dim_value()) value.length = type.shape().dim(0).dim_value();
}

// The sizes of an example, with a batch of one; none where the file and the options leave some free.
std::optional<Shape> Importer::example_shape(const ::onnx::ValueInfoProto& info, std::vector<int64_t> sizes) const {
  if (const auto given = options_.shapes.find(info.name()); given != options_.shapes.end()) {
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

void Importer::set_outputs() {
  std::vector<nn::GraphOutput> outputs;
  for (const ::onnx::ValueInfoProto& info : model_.graph().output()) {
    const auto it = values_.find(info.name());
    check<FormatError>(it != values_.end(), "no node computes the output ", detail::quote(info.name()));
    outputs.push_back({plain(info.name()), output_node(info, it->second)});
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

const Value& Importer::input(const OnnxNode& node, size_t i) const {
  node.require(has_input(node, i), "its input ", i, " is missing");
  const auto it = values_.find(node.input(i));
  node.require(it != values_.end(), "its input ", detail::quote(node.input(i)),
               " is neither an input of the model, nor an initializer, nor computed before");
  return it->second;
}

const NDArray& Importer::constant(const OnnxNode& node, size_t i, const char* what) const {
  const Value& value = input(node, i);
  node.require(value.constant.defined(), "its input '", what,
               "' is computed, which is not covered; expected a constant");
  return value.constant;
}

std::vector<int64_t> Importer::constant_integers(const OnnxNode& node, size_t i, const char* what) const {
  return constant(node, i, what).to_vector<int64_t>();
}

double Importer::constant_number(const OnnxNode& node, size_t i, const char* what) const {
  const NDArray& value = constant(node, i, what);
  node.require(value.numel() == 1, "its input '", what, "' has ", value.numel(), " elements, expected one");
  return value.item<double>();
}

std::string Importer::name_for(const OnnxNode& node, const std::string& what) const {
  return plain((node.output(0).empty() ? node.op() : node.output(0)) + '.' + what);
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
    const auto known_as = own.node ? constants_.end() : constants_.find(own.constant.raw());
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
      const bool is_list = value.constant.ndim() > 0;
      attributes.set(key, is_list ? Attribute(value.constant.to_vector<int64_t>()) : value.constant.item<int64_t>());
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
    return known(thimble::apply(make_op(op, attributes), std::move(tensors)).data());
  }
  if (!keys.empty()) attributes.set(nn::kAttributeInputs, keys);
  nn::Node* added = graph_.add_op(name_for(node, op), op, std::move(attributes), nodes_of(node, all));
  return {{}, added, rank, false, rank == 1 && is_elementwise(op) ? common_length(operands) : kFree};
}

Value Importer::call(const OnnxNode& node, const std::string& type, const Attributes& attributes,
                     const NamedArrays& tensors, const std::vector<Value>& operands, int rank) {
  std::shared_ptr<nn::Module> layer = nn::make_layer(type, attributes);
  layer->load_state(tensors);
  layer->eval();
  return {{}, graph_.add_layer(plain(node.output(0)), std::move(layer), nodes_of(node, operands)), rank, false};
}

void Importer::set(const OnnxNode& node, size_t output, Value value) {
  if (node.output(output).empty()) return;
  if (value.constant.defined() && value.constant.numel() > 0)
    constants_.emplace(std::as_const(value.constant).raw(), node.output(output));
  // What the node's last op or layer gives is known by the file's name.
  const std::string wanted = plain(node.output(output));
  if (value.node && value.node->name.starts_with(wanted + '.') && !graph_.find(wanted))
    graph_.rename(value.node, wanted);
  const bool is_new = values_.emplace(node.output(output), std::move(value)).second;
  node.require(is_new, "its output ", detail::quote(node.output(output)), " has been computed already");
}

}  // namespace thimble::onnx
