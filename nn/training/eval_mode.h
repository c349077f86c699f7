// Evaluation mode for a scope.
#pragma once

#include <utility>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

/// While it lives, the module and all below it are in evaluation mode; afterwards each is in its own former mode.
class THIMBLE_API EvalMode {
 public:
  explicit EvalMode(Module& model) {
    for (const auto& [path, module] : model.named_modules())
      modes_.emplace_back(const_cast<Module*>(module), module->training());
    for (auto& [module, training] : modes_) module->set_own_mode(false);
  }
  ~EvalMode() {
    for (auto& [module, training] : modes_) module->set_own_mode(training);
  }
  EvalMode(const EvalMode&) = delete;
  EvalMode& operator=(const EvalMode&) = delete;

 private:
  std::vector<std::pair<Module*, bool>> modes_;
};

}  // namespace thimble::nn
