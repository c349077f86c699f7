#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <typeinfo>

#include <cxxabi.h>

#include <thimble/nn/call_scope.h>
#include <thimble/nn/module_text.h>

namespace thimble::nn::detail {

namespace {

std::atomic<uint64_t> changes{0};
thread_local const Module* model = nullptr;  // that is being called on this thread

/// The modules that the model holds, listed anew only when another model is called or some module's children have
/// changed.
class Members {
 public:
  bool contain(const Module& module) {
    if (model != model_ || changes.load(std::memory_order_relaxed) != changes_) list();
    return std::ranges::binary_search(modules_, &module, std::less<const Module*>());
  }

  void list() {
    changes_ = changes.load(std::memory_order_relaxed);
    modules_.clear();
    for (const auto& [path, module] : model->named_modules()) modules_.push_back(module);
    std::ranges::sort(modules_, std::less<const Module*>());
    model_ = model;
  }

 private:
  const Module* model_ = nullptr;
  uint64_t changes_ = 0;
  std::vector<const Module*> modules_;  // in order of their addresses
};

thread_local Members members;

bool has_trained_parameters(const Module& module) {
  return std::ranges::any_of(module.named_parameters(), [](const auto& p) { return p.second.requires_grad(); });
}

}  // namespace

CallScope::CallScope(const Module& module) {
  if (!grad_enabled()) return;
  if (!model) {
    model = &module;
    is_outermost_ = true;
    return;
  }
  if (members.contain(module) || !has_trained_parameters(module)) return;
  members.list();  // a module's children also change when another one is moved into it
  if (members.contain(module)) return;
  const std::string type = detail::class_name(module);
  throw ValueError(str(type, ": is called with parameters to train, but is not registered with ",
                       detail::class_name(*model),
                       ", so that no optimizer or file would see them; declare it as nn::Submodule<", type,
                       "> name{this, \"name\", ...}, or freeze the parameters"));
}

CallScope::~CallScope() {
  if (is_outermost_) model = nullptr;
}

void CallScope::children_changed() { changes.fetch_add(1, std::memory_order_relaxed); }

}  // namespace thimble::nn::detail
