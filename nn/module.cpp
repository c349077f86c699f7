#include <map>
#include <set>
#include <unordered_set>

#include <thimble/core/profiled.h>
#include <thimble/core/text.h>
#include <thimble/nn/call_scope.h>
#include <thimble/nn/graph/owns_graphs.h>
#include <thimble/nn/inference/inference.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

namespace {

thread_local CallListener* listener = nullptr;

std::string join(const std::string& path, const std::string& name) { return path.empty() ? name : path + '.' + name; }

std::map<std::string, LayerFactory>& layer_registry() {
  static std::map<std::string, LayerFactory> registry;
  return registry;
}

// What load_state() is to do.
struct StateChange {
  std::vector<std::pair<Tensor, NDArray>> arrays;
  LoadStateReport report;
};

// The array as the tensor is to hold it.
NDArray fitting(const std::string& name, const NDArray& array, const Tensor& tensor) {
  const std::string what = "load_state: " + thimble::detail::quote(name);
  check<ValueError>(array.defined(), what, " is undefined");
  check<ShapeError>(array.shape() == tensor.shape(), what, ": shape ", array.shape(), " is not ", tensor.shape());
  const bool is_half = array.dtype() == DType::float16 || array.dtype() == DType::bfloat16;
  if (is_half && is_differentiable(tensor.dtype())) return array.to(tensor.dtype());
  check<DTypeError>(array.dtype() == tensor.dtype(), what, ": dtype ", array.dtype(), " is not ", tensor.dtype());
  return array;
}

StateChange change_of(const NamedTensors& state, const NamedArrays& arrays) {
  std::map<std::string, NDArray> given;
  for (const auto& [name, array] : arrays)
    check<ValueError>(given.emplace(name, array).second, "load_state: ", thimble::detail::quote(name),
                      " is given twice");
  StateChange change;
  std::set<std::string> known;
  for (const auto& [name, tensor] : state) {
    check<ValueError>(known.insert(name).second, "load_state: two tensors are named ", thimble::detail::quote(name));
    if (const auto it = given.find(name); it == given.end())
      change.report.missing.push_back(name);
    else
      change.arrays.emplace_back(tensor, fitting(name, it->second, tensor));
  }
  for (const auto& [name, array] : arrays)
    if (!known.contains(name)) change.report.unexpected.push_back(name);
  return change;
}

bool is_complete(const LoadStateReport& report) { return report.missing.empty() && report.unexpected.empty(); }

std::string listed(const std::vector<std::string>& names) {
  constexpr size_t kShown = 5;
  std::string list;
  for (size_t i = 0; i < names.size() && i < kShown; ++i)
    list += (i > 0 ? ", " : "") + thimble::detail::quote(names[i]);
  return names.size() > kShown ? str(list, " and ", names.size() - kShown, " more") : list;
}

std::string describe(const LoadStateReport& report) {
  std::string text;
  if (!report.missing.empty()) text = "no array is given for " + listed(report.missing);
  if (!report.unexpected.empty())
    text += (text.empty() ? "" : "; ") + ("there is no tensor " + listed(report.unexpected));
  return text;
}

}  // namespace

CallListener* call_listener() { return listener; }

CallListener* set_call_listener(CallListener* next) { return std::exchange(listener, next); }

Tensor Module::forward(const Tensor&) {
  throw ValueError("this module has no forward() for one input and one output; see forward_all(), forward_outputs()");
}

Tensor Module::forward_all(std::span<const Tensor> inputs) {
  check<ValueError>(inputs.size() == 1, "takes one input, got ", inputs.size());
  return forward(inputs[0]);
}

std::vector<Tensor> Module::forward_outputs(std::span<const Tensor> inputs) { return {forward_all(inputs)}; }

std::unique_ptr<InferenceStep> Module::inference_step(std::span<const ValueInfo>) const { return nullptr; }

Tensor Module::call(std::span<const Tensor> inputs) {
  const detail::CallScope scope(*this);
  const thimble::detail::Profiled profiled(name_);
  auto run = [&] { return listener ? listener->on_call(*this, inputs) : forward_all(inputs); };
  return name_.empty() ? run() : detail::named_in_errors(name_, run);
}

std::vector<Tensor> Module::call_outputs(std::span<const Tensor> inputs) {
  const detail::CallScope scope(*this);
  const thimble::detail::Profiled profiled(name_);
  auto run = [&] { return listener ? listener->on_call_outputs(*this, inputs) : forward_outputs(inputs); };
  return name_.empty() ? run() : detail::named_in_errors(name_, run);
}

void Module::check_name(const std::string& name) const {
  check<ValueError>(!name.empty(), "register: a name is empty");
  check<ValueError>(!is_registered(name), "register: the name '", name, "' is taken");
}

Tensor Module::register_parameter(const std::string& name, Tensor parameter) {
  if (!parameter.defined()) return parameter;
  check_name(name);
  parameter.set_requires_grad(true);
  register_tensor(&Module::parameters_, name, parameter);
  return parameter;
}

Tensor Module::register_buffer(const std::string& name, Tensor buffer) {
  if (!buffer.defined()) return buffer;
  check_name(name);
  register_tensor(&Module::buffers_, name, buffer);
  return buffer;
}

// What could throw comes first, so that a name is registered whole or not at all.
void Module::register_tensor(OwnTensors Module::*list, const std::string& name, const Tensor& tensor) {
  OwnTensors entry{{name, tensor}};
  registered_.emplace(name, Registered{{}, list, entry.begin()});
  (this->*list).splice((this->*list).end(), entry);
}

void Module::register_module(const std::string& name, std::shared_ptr<Module> child) {
  check_name(name);
  check<ValueError>(child != nullptr, "register_module: '", name, "' is null");
  std::string own_name = name;
  Children entry{{name, child}};
  registered_.emplace(name, Registered{entry.begin(), nullptr, {}});
  children_.splice(children_.end(), entry);
  child->name_ = std::move(own_name);
}

Module::Registered& Module::registered_child(const std::string& name) {
  const auto it = registered_.find(name);
  check<ValueError>(it != registered_.end() && !it->second.list, "replace_module: there is no child '", name, "'");
  return it->second;
}

void Module::replace_module(const std::string& name, std::shared_ptr<Module> child) {
  Registered& place = registered_child(name);
  check<ValueError>(child != nullptr, "replace_module: the new '", name, "' is null");
  child->name_ = name;
  place.child->second = std::move(child);
  detail::CallScope::children_changed();
}

void Module::replace_module(const std::string& name, const Tensor& buffer) {
  Registered& place = registered_child(name);
  OwnTensors entry{{name, buffer}};
  children_.erase(place.child);
  place = {{}, &Module::buffers_, entry.begin()};
  buffers_.splice(buffers_.end(), entry);
  detail::CallScope::children_changed();
}

std::shared_ptr<Module> Module::child(const std::string& name) const {
  const auto it = registered_.find(name);
  return it == registered_.end() || it->second.list ? nullptr : it->second.child->second;
}

Tensor Module::own_tensor(const std::string& name) const {
  const auto it = registered_.find(name);
  return it == registered_.end() || !it->second.list ? Tensor() : it->second.tensor->second;
}

void Module::erase_module(const std::string& name) {
  const auto it = registered_.find(name);
  if (it == registered_.end() || it->second.list) return;
  children_.erase(it->second.child);
  registered_.erase(it);
  detail::CallScope::children_changed();
}

void Module::erase_tensor(const std::string& name) {
  const auto it = registered_.find(name);
  if (it == registered_.end() || !it->second.list) return;
  (this->*it->second.list).erase(it->second.tensor);
  registered_.erase(it);
}

template <typename Visit>
void Module::visit(const std::string& path, Visit&& visit_one) const {
  visit_one(path, *this);
  for (const auto& [name, child] : children_) child->visit(join(path, name), visit_one);
}

NamedTensors Module::collect(OwnTensors Module::*own) const {
  NamedTensors found;
  std::unordered_set<const void*> seen;
  visit("", [&](const std::string& path, const Module& module) {
    for (const auto& [name, tensor] : module.*own)
      if (seen.insert(tensor.id()).second) found.emplace_back(join(path, name), tensor);
  });
  return found;
}

NamedTensors Module::named_parameters() const { return collect(&Module::parameters_); }
NamedTensors Module::named_buffers() const { return collect(&Module::buffers_); }

NamedTensors Module::state() const {
  NamedTensors all = named_parameters();
  for (auto& buffer : named_buffers()) all.push_back(std::move(buffer));
  return all;
}

std::string Module::path_of(const Tensor& tensor) const {
  for (const OwnTensors* list : {&parameters_, &buffers_})
    for (const auto& [name, own] : *list)
      if (own.id() == tensor.id()) return name;
  for (const auto& [name, child] : children_)
    if (const std::string path = child->path_of(tensor); !path.empty()) return join(name, path);
  return {};
}

std::vector<Tensor> Module::parameters() const {
  std::vector<Tensor> tensors;
  for (auto& [name, tensor] : named_parameters()) tensors.push_back(std::move(tensor));
  return tensors;
}

int64_t Module::num_parameters() const {
  int64_t n = 0;
  for (const auto& [name, tensor] : named_parameters()) n += tensor.numel();
  return n;
}

std::vector<std::pair<std::string, const Module*>> Module::named_modules() const {
  std::vector<std::pair<std::string, const Module*>> found;
  std::unordered_set<const Module*> seen;
  visit("", [&](const std::string& path, const Module& module) {
    if (seen.insert(&module).second) found.emplace_back(path, &module);
  });
  return found;
}

LoadStateReport Module::load_state(const NamedArrays& arrays, LoadStateOptions options) {
  // What can be known before anything is changed.
  StateChange change = change_of(state(), arrays);
  check<ValueError>(!options.strict || is_complete(change.report), "load_state: ", describe(change.report));
  std::vector<Module*> modules;
  for (const auto& [path, module] : named_modules()) modules.push_back(const_cast<Module*>(module));
  std::vector<NDArray> before;
  for (const auto& [tensor, array] : change.arrays) before.push_back(tensor.data());
  // From here on only layers may throw.
  for (auto& [tensor, array] : change.arrays) tensor.set_data(array);
  try {
    for (Module* module : modules) module->state_changed();
  } catch (...) {
    for (size_t i = 0; i < before.size(); ++i) change.arrays[i].first.set_data(before[i]);
    for (Module* module : modules) {
      try {
        module->state_changed();
      } catch (const std::exception&) {  // it was about to get its first meaningful arrays, or there is no memory
      }
    }
    throw;
  }
  return change.report;
}

Module& Module::train(bool training) {
  training_ = training;
  for (const auto& [name, child] : children_) child->train(training);
  return *this;
}

void register_layer(std::string type, LayerFactory factory) {
  check<ValueError>(layer_registry().emplace(type, std::move(factory)).second, "register_layer: '", type,
                    "' is registered twice");
}

bool is_registered_layer(const std::string& type) { return layer_registry().contains(type); }

std::shared_ptr<Module> make_layer(const std::string& type, const Attributes& attributes) {
  const auto it = layer_registry().find(type);
  check<FormatError>(it != layer_registry().end(), "unknown layer type '", type, "'");
  return it->second(attributes);
}

std::shared_ptr<Module> copy_layer(const Module& layer) {
  if (const auto* owner = dynamic_cast<const OwnsGraphs*>(&layer)) {
    std::vector<Graph> graphs;
    for (const Graph* graph : owner->graphs()) graphs.push_back(graph->clone());
    std::shared_ptr<Module> copy = owner->with_graphs(std::move(graphs));
    copy->train(layer.training());
    return copy;
  }
  std::shared_ptr<Module> copy = make_layer(layer.type(), layer.attributes());
  NamedArrays arrays;
  for (const auto& [name, tensor] : layer.state()) arrays.emplace_back(name, tensor.data().lazy_clone());
  copy->load_state(arrays);
  const NamedTensors from = layer.named_parameters(), to = copy->named_parameters();
  for (size_t i = 0; i < from.size(); ++i) Tensor(to[i].second).set_requires_grad(from[i].second.requires_grad());
  copy->train(layer.training());
  return copy;
}

}  // namespace thimble::nn
