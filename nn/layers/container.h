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

/// x + body(x)
class THIMBLE_API Residual : public Module {
 public:
  explicit Residual(std::shared_ptr<Module> body) { register_module("body", std::move(body)); }
  Tensor forward(const Tensor& x) override { return x + (*children().front().second)(x); }
};

}  // namespace thimble::nn
