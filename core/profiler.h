// Where the time of training goes, layer by layer.
//
//   Profiler profiler;
//   for (int i = 0; i < 10; ++i) {
//     const Tensor loss = cross_entropy(net(images), labels);
//     adam.zero_grad();
//     loss.backward();
//     adam.step();
//   }
//   std::cout << profiler.text();
//   save_chrome_trace(profiler, "trace.json");  // for chrome://tracing or ui.perfetto.dev
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <thimble/core/api.h>

namespace thimble {

class Op;

namespace detail {
class Profiled;
}

/// What happened while a Profiler lived, once.
struct THIMBLE_API ProfiledEvent {
  std::string layer;         ///< the path of the module that did it, "block1.conv"; see Profiler
  std::string name;          ///< the op, "conv2d"; empty for the call of a module; what a ProfiledScope was given
  bool is_backward = false;  ///< done by backward()
  double start = 0;          ///< in seconds since the profiler's first moment
  double seconds = 0;
  double own_seconds = 0;  ///< without those of the events within it
};

/// All events of a layer, or of a ProfiledScope.
struct THIMBLE_API ProfiledLayer {
  std::string layer;
  int64_t calls = 0;  ///< of the module, or of the scope
  double forward_seconds = 0, backward_seconds = 0;
};

/// While it lives, it notes calls of modules, ops, what backward() does for each, steps of optimizers, waits for data
/// and ProfiledScopes, on this thread alone. What backward() does counts for the layer that had applied the op. Ops
/// that a model applies by itself have the layer "(model)", those that no module applies "(outside)". A graph in
/// evaluation mode is one call of a module: see nn::profile() for what is in it.
class THIMBLE_API Profiler {
 public:
  /// What may be told.
  struct Options {
    size_t most_events = 1 << 20;  ///< kept in events(); later ones count in layers() alone
  };

  /// Throws ValueError if another one lives on this thread, which must outlive it.
  explicit Profiler(const Options& options);
  Profiler() : Profiler(Options()) {}
  ~Profiler();
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  /// In the order in which they began. Those that are not over yet have lasted 0 seconds.
  const std::vector<ProfiledEvent>& events() const { return events_; }
  /// In the order in which they were met first. Each moment counts once, for the innermost.
  const std::vector<ProfiledLayer>& layers() const { return layers_; }
  /// A table of layers().
  std::string text() const;

 private:
  friend class ProfiledScope;
  friend class detail::Profiled;
  using Clock = std::chrono::steady_clock;

  struct Open {
    std::string layer;
    bool is_backward;
    size_t event;  // its place in events_, or most_events
    Clock::time_point start;
    double within = 0;  // seconds of the events in it
  };

  void begin_call(const std::string& module);
  void begin_op(const Op& op);
  void begin_backward(const Op& op);
  void begin(std::string layer, std::string_view name, bool is_backward);
  void end();
  ProfiledLayer& layer_of(const std::string& layer);
  bool is_in_backward() const { return !open_.empty() && open_.back().is_backward; }

  Options options_;
  Profiler** slot_;  // where its thread looks for it
  Clock::time_point first_ = Clock::now();
  std::vector<ProfiledEvent> events_;
  std::vector<ProfiledLayer> layers_;
  std::unordered_map<std::string, size_t> places_;          // in layers_
  std::unordered_map<const Op*, std::string> layer_of_op_;  // of those that were applied
  std::vector<Open> open_;
};

/// A part of a program that a profiler shall show under a name: in layers() as a layer.
class THIMBLE_API ProfiledScope {
 public:
  explicit ProfiledScope(std::string_view name);
  ~ProfiledScope();
  ProfiledScope(const ProfiledScope&) = delete;
  ProfiledScope& operator=(const ProfiledScope&) = delete;

 private:
  Profiler* profiler_;
};

}  // namespace thimble
