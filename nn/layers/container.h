// Modules made of modules.
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

/// Runs its children one after the other; they are called "0", "1", ...
///
///   nn::Sequential mlp(nn::Linear(784, 128), nn::ReLU(), nn::Linear(128, 10));
class THIMBLE_API Sequential : public Module {
 public:
  template <typename... Modules>
  requires(std::derived_from<std::remove_cvref_t<Modules>, Module>&&...) explicit Sequential(Modules&&... modules) {
    (add(std::make_shared<std::remove_cvref_t<Modules>>(std::forward<Modules>(modules))), ...);
  }

  Sequential& add(std::shared_ptr<Module> module) {
    register_module(std::to_string(children().size()), std::move(module));
    return *this;
  }
  template <typename M, typename... Args>
  Sequential& emplace(Args&&... args) {
    return add(std::make_shared<M>(std::forward<Args>(args)...));
  }

  Tensor forward(const Tensor& x) override {
    Tensor h = x;
    for (const auto& [name, module] : children()) h = (*module)(h);
    return h;
  }
};

/// A list of modules that are called one by one by the model that holds it; their names are "0", "1", ...
///
///   nn::Submodule<nn::ModuleList> blocks{this, "blocks"};
///   Tensor h = x;
///   for (const auto& [name, block] : blocks->children()) h = (*block)(h);
class THIMBLE_API ModuleList : public Module {
 public:
  template <typename... Modules>
  requires(std::derived_from<std::remove_cvref_t<Modules>, Module>&&... &&
           !(sizeof...(Modules) == 1 && (std::same_as<std::remove_cvref_t<Modules>, ModuleList> && ...)))  // a copy
      explicit ModuleList(Modules&&... modules) {
    (append(std::make_shared<std::remove_cvref_t<Modules>>(std::forward<Modules>(modules))), ...);
  }

  ModuleList& append(std::shared_ptr<Module> module) {
    register_module(std::to_string(size()), std::move(module));
    return *this;
  }
  template <typename M, typename... Args>
  ModuleList& emplace(Args&&... args) {
    return append(std::make_shared<M>(std::forward<Args>(args)...));
  }

  int64_t size() const { return static_cast<int64_t>(children().size()); }
  /// Negative numbers count from the end. Throws ValueError for one that is not there.
  Module& operator[](int64_t i) const {
    check<ValueError>(i >= -size() && i < size(), "ModuleList: there is no module ", i, " of ", size());
    return *child(std::to_string(i < 0 ? i + size() : i));
  }
};

/// Modules by name, which the model that holds it calls; in the order in which they were added.
///
///   nn::Submodule<nn::ModuleDict> heads{this, "heads"};
///   Tensor y = (*heads)["left"](x);
class THIMBLE_API ModuleDict : public Module {
 public:
  /// Throws ValueError for a name that is taken.
  ModuleDict& add(const std::string& name, std::shared_ptr<Module> module) {
    register_module(name, std::move(module));
    return *this;
  }
  template <typename M, typename... Args>
  ModuleDict& emplace(const std::string& name, Args&&... args) {
    return add(name, std::make_shared<M>(std::forward<Args>(args)...));
  }

  int64_t size() const { return static_cast<int64_t>(children().size()); }
  bool contains(const std::string& name) const { return child(name) != nullptr; }
  /// Throws ValueError for a name that is not there.
  Module& operator[](const std::string& name) const {
    const std::shared_ptr<Module> module = child(name);
    check<ValueError>(module != nullptr, "ModuleDict: there is no module '", name, "'");
    return *module;
  }
};

/// x + body(x)
class THIMBLE_API Residual : public Module {
 public:
  explicit Residual(std::shared_ptr<Module> body) { register_module("body", std::move(body)); }
  Tensor forward(const Tensor& x) override { return x + (*children().front().second)(x); }
};

}  // namespace thimble::nn
