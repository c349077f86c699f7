// What tells a Profiler what happens. Costs a look at a variable of the thread where there is none. Internal.
#pragma once

#include <string>

#include <thimble/core/profiler.h>

namespace thimble::detail {

Profiler*& current_profiler();

/// The call of a module, by its name, an op that is computed, or what backward() does for one: as long as this lives.
class Profiled {
 public:
  /// What a Profiler is told at the beginning.
  using Begin = void (Profiler::*)(const Op& op);

  explicit Profiled(const std::string& module) : profiler_(current_profiler()) {
    if (profiler_) [[unlikely]]
      profiler_->begin_call(module);
  }
  Profiled(const Op& op, Begin begin) : profiler_(current_profiler()) {
    if (profiler_) [[unlikely]]
      (profiler_->*begin)(op);
  }
  ~Profiled() {
    if (profiler_ && profiler_ == current_profiler()) [[unlikely]]
      profiler_->end();
  }
  Profiled(const Profiled&) = delete;
  Profiled& operator=(const Profiled&) = delete;

  static constexpr Begin kCompute = &Profiler::begin_op, kBackward = &Profiler::begin_backward;

 private:
  Profiler* profiler_;
};

}  // namespace thimble::detail
