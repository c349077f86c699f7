#include <thimble/core/error.h>
#include <thimble/core/op.h>
#include <thimble/core/profiled.h>
#include <thimble/core/text_numbers.h>
#include <thimble/core/text_table.h>

namespace thimble {

namespace {

constexpr const char *kWholeModel = "(model)", *kOutsideOfModules = "(outside)";

thread_local Profiler* current = nullptr;

double seconds_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

Profiler*& detail::current_profiler() { return current; }

Profiler::Profiler(const Options& options) : options_(options), slot_(&current) {
  check<ValueError>(current == nullptr, "Profiler: another one lives on this thread");
  current = this;
}

Profiler::~Profiler() { *slot_ = nullptr; }

ProfiledLayer& Profiler::layer_of(const std::string& layer) {
  const auto [it, is_new] = places_.emplace(layer, layers_.size());
  if (is_new) layers_.push_back({.layer = layer});
  return layers_[it->second];
}

void Profiler::begin(std::string layer, std::string_view name, bool is_backward) {
  const size_t event = events_.size() < options_.most_events ? events_.size() : options_.most_events;
  layer_of(layer);  // so that layers have the order in which they begin
  open_.push_back({.layer = std::move(layer), .is_backward = is_backward, .event = event, .start = Clock::now()});
  const Open& open = open_.back();
  if (event < options_.most_events)
    events_.push_back({.layer = open.layer,
                       .name = std::string(name),
                       .is_backward = is_backward,
                       .start = seconds_between(first_, open.start)});
}

void Profiler::end() {
  if (open_.empty()) return;  // it began with a profiler that is gone
  const Open open = std::move(open_.back());
  open_.pop_back();
  const double seconds = seconds_between(open.start, Clock::now()), own = seconds - open.within;
  if (!open_.empty()) open_.back().within += seconds;
  if (open.event < options_.most_events) {
    events_[open.event].seconds = seconds;
    events_[open.event].own_seconds = own;
  }
  ProfiledLayer& layer = layer_of(open.layer);
  (open.is_backward ? layer.backward_seconds : layer.forward_seconds) += own;
}

std::string Profiler::text() const {
  constexpr double kMilli = 1e3;
  double all = 0;
  for (const ProfiledLayer& l : layers_) all += l.forward_seconds + l.backward_seconds;
  detail::TextTable table({"layer", "calls", "forward, ms", "backward, ms", "share"});
  for (const ProfiledLayer& l : layers_) {
    const double share = all > 0 ? 100 * (l.forward_seconds + l.backward_seconds) / all : 0;
    table.add({l.layer, detail::with_commas(l.calls), detail::fixed(kMilli * l.forward_seconds, 3),
               detail::fixed(kMilli * l.backward_seconds, 3), detail::fixed(share, 1) + " %"});
  }
  return table.str();
}

void Profiler::begin_call(const std::string& module) {
  const std::string outer = open_.empty() ? kOutsideOfModules : open_.back().layer;
  const bool is_within = outer != kWholeModel && outer != kOutsideOfModules;
  std::string layer = module.empty() ? kWholeModel : is_within ? outer + '.' + module : module;
  ++layer_of(layer).calls;
  begin(std::move(layer), "", is_in_backward());
}

void Profiler::begin_op(const Op& op) {
  std::string layer = open_.empty() ? kOutsideOfModules : open_.back().layer;
  layer_of_op_[&op] = layer;
  begin(std::move(layer), op.name(), is_in_backward());
}

void Profiler::begin_backward(const Op& op) {
  const auto it = layer_of_op_.find(&op);
  begin(it == layer_of_op_.end() ? kOutsideOfModules : it->second, op.name(), true);
}

ProfiledScope::ProfiledScope(std::string_view name) : profiler_(current) {
  if (!profiler_) return;
  ++profiler_->layer_of(std::string(name)).calls;
  profiler_->begin(std::string(name), name, false);
}

ProfiledScope::~ProfiledScope() {
  if (profiler_ && profiler_ == current) profiler_->end();
}

}  // namespace thimble
