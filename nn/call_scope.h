// Whether what a model calls while it is trained belongs to it. Internal to nn.
#pragma once

#include <thimble/nn/module.h>

namespace thimble::nn::detail {

/// Lives as long as a call of `module`. The outermost call on a thread is that of the model; what is called within must
/// be among its descendants, or have nothing to train (a frozen teacher, an activation), or no gradients be recorded.
class CallScope {
 public:
  /// Throws ValueError for a module that the model does not hold, since no optimizer or file would see its parameters.
  explicit CallScope(const Module& module);
  ~CallScope();
  CallScope(const CallScope&) = delete;
  CallScope& operator=(const CallScope&) = delete;

  /// To be told of each change of what some module holds.
  static void children_changed();

 private:
  bool is_outermost_ = false;
};

}  // namespace thimble::nn::detail
