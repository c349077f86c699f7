#include <map>
#include <set>
#include <unordered_set>

#include <thimble/core/text.h>
#include <thimble/nn/call_scope.h>
#include <thimble/nn/inference/inference.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

namespace {

thread_local CallListener* listener = nullptr;

std::string join(const std::string& path, const std::string& name) { return path.empty() ? name : path + '.' + name; }

std::map<std::string, LayerFactory>& registry() {
  static std::map<std::string, LayerFactory> registry;
  return registry;
}

}  // namespace

CallListener* call_listener() { return listener; }

CallListener* set_call_listener(CallListener* next) { return std::exchange(listener, next); }

Tensor Module::forward(const Tensor&) { throw ValueError("this module takes several inputs"); }

Tensor Module::forward_all(std::span<const Tensor> inputs) {
  check<ValueError>(inputs.size() == 1, "takes one input, got ", inputs.size());
  return forward(inputs[0]);
}

std::unique_ptr<InferenceStep> Module::inference_step(std::span<const ValueInfo>) const { return nullptr; }

Tensor Module::call(std::span<const Tensor> inputs) {
  const detail::CallScope scope(*this);
  auto run = [&] { return listener ? listener->on_call(*this, inputs) : forward_all(inputs); };
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
  parameters_.emplace_back(name, parameter);
  registered_[name] = {nullptr, parameter};
  return parameter;
}

Tensor Module::register_buffer(const std::string& name, Tensor buffer) {
  check_name(name);
  buffers_.emplace_back(name, buffer);
  registered_[name] = {nullptr, buffer};
  return buffer;
}

void Module::register_module(const std::string& name, std::shared_ptr<Module> child) {
  check_name(name);
  check<ValueError>(child != nullptr, "register_module: '", name, "' is null");
  child->name_ = name;
  registered_[name] = {child, Tensor()};
  children_.emplace_back(name, std::move(child));
  detail::CallScope::children_changed();
}

std::shared_ptr<Module> Module::child(const std::string& name) const {
  const auto it = registered_.find(name);
  return it == registered_.end() ? nullptr : it->second.child;
}

Tensor Module::own_tensor(const std::string& name) const {
  const auto it = registered_.find(name);
  return it == registered_.end() ? Tensor() : it->second.tensor;
}

void Module::erase_module(const std::string& name) {
  if (std::erase_if(children_, [&](const auto& child) { return child.first == name; })) registered_.erase(name);
  detail::CallScope::children_changed();
}

void Module::erase_tensor(const std::string& name) {
  const auto has_name = [&](const auto& entry) { return entry.first == name; };
  if (std::erase_if(parameters_, has_name) + std::erase_if(buffers_, has_name)) registered_.erase(name);
}

template <typename Visit>
void Module::visit(const std::string& path, Visit&& visit_one) const {
  visit_one(path, *this);
  for (const auto& [name, child] : children_) child->visit(join(path, name), visit_one);
}

NamedTensors Module::collect(NamedTensors Module::*own) const {
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
  for (const NamedTensors* list : {&parameters_, &buffers_})
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

void Module::load_state(const std::vector<std::pair<std::string, NDArray>>& arrays) {
  std::map<std::string, Tensor> tensors;
  for (auto& [name, tensor] : state())
    check<ValueError>(tensors.emplace(name, tensor).second, "load_state: two tensors are named ",
                      thimble::detail::quote(name));
  check<ValueError>(arrays.size() == tensors.size(), "load_state: got ", arrays.size(), " arrays for ", tensors.size(),
                    " tensors");
  // What can be known before anything is changed.
  std::set<std::string> given;
  for (const auto& [name, array] : arrays) {
    const auto it = tensors.find(name);
    check<ValueError>(it != tensors.end() && given.insert(name).second, "load_state: there is no tensor ",
                      thimble::detail::quote(name), " here, or it is given twice");
    check<ShapeError>(array.shape() == it->second.shape(), "load_state: ", thimble::detail::quote(name), ": shape ",
                      array.shape(), " is not ", it->second.shape());
    check<DTypeError>(array.dtype() == it->second.dtype(), "load_state: ", thimble::detail::quote(name), ": dtype ",
                      array.dtype(), " is not ", it->second.dtype());
  }
  std::vector<NDArray> before;
  const auto tell_layers = [this] {
    visit("", [](const std::string&, const Module& module) { const_cast<Module&>(module).state_changed(); });
  };
  for (const auto& [name, array] : arrays) {
    Tensor& tensor = tensors.at(name);
    before.push_back(tensor.data());
    tensor.set_data(array);
  }
  try {
    tell_layers();
  } catch (...) {
    for (size_t i = 0; i < arrays.size(); ++i) tensors.at(arrays[i].first).set_data(before[i]);
    try {
      tell_layers();
    } catch (const Error&) {  // a layer that was about to get its first meaningful arrays
    }
    throw;
  }
}

Module& Module::train(bool training) {
  visit("", [&](const std::string&, const Module& module) { const_cast<Module&>(module).training_ = training; });
  return *this;
}

void register_layer(std::string type, LayerFactory factory) {
  check<ValueError>(registry().emplace(type, std::move(factory)).second, "register_layer: '", type,
                    "' is registered twice");
}

bool is_registered_layer(const std::string& type) { return registry().contains(type); }

std::shared_ptr<Module> make_layer(const std::string& type, const Attributes& attributes) {
  const auto it = registry().find(type);
  check<FormatError>(it != registry().end(), "unknown layer type '", type, "'");
  return it->second(attributes);
}

std::shared_ptr<Module> copy_layer(const Module& layer) {
  std::shared_ptr<Module> copy = make_layer(layer.type(), layer.attributes());
  std::vector<std::pair<std::string, NDArray>> arrays;
  for (const auto& [name, tensor] : layer.state()) arrays.emplace_back(name, tensor.data().clone());
  copy->load_state(arrays);
  const NamedTensors from = layer.named_parameters(), to = copy->named_parameters();
  for (size_t i = 0; i < from.size(); ++i) Tensor(to[i].second).set_requires_grad(from[i].second.requires_grad());
  copy->train(layer.training());
  return copy;
}

}  // namespace thimble::nn
