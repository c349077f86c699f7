#include "apps/state_keeper.h"

#include <filesystem>
#include <iostream>
#include <set>

#include "apps/command.h"
#include <thimble/core/parallel.h>
#include <thimble/core/random.h>
#include <thimble/core/text.h>

namespace thimble::apps {

namespace {

constexpr const char *kSettings = "settings.", *kThreads = "threads";

std::string described(const Attributes& settings, const std::string& key) {
  for (const auto& [name, value] : settings)
    if (name == key) return str("--", Attributes{{name, value}});
  return "no --" + key;
}

void warn(const std::string& message) { std::cerr << "thimble: warning: " << detail::printable(message) << '\n'; }

bool same_folder(const std::string& a, const std::string& b) {
  std::error_code error;
  return std::filesystem::equivalent(a, b, error);
}

}  // namespace

void StateOptions::add_to(CLI::App& command) {
  CLI::Option* folder =
      command
          .add_option(
              "--save-state", save,
              "Save the whole state of the run in this folder, every --save-every steps and when SIGINT or SIGTERM "
              "ends it")
          ->type_name("DIR");
  command.add_option("--save-every", every, "Steps between saved states")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1000000000}))
      ->needs(folder);
  command.add_option("--keep-states", keep, "How many saved states stay, the newest")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000))
      ->needs(folder);
  command.add_option("--on-save-error", on_error, "If a state cannot be saved: warn and continue training, or stop")
      ->capture_default_str()
      ->check(CLI::IsMember({"continue", "stop"}))
      ->needs(folder);
  command
      .add_option("--resume", resume,
                  "Go on from the newest valid state in this folder, with all other options as before; the result is "
                  "the same, bit for bit, as without interruption. A folder without states: from the start")
      ->type_name("DIR");
}

StateKeeper::StateKeeper(const StateOptions& options, const Attributes& settings, nn::Module& model,
                         optim::Optimizer& optimizer, std::ostream& out)
    : options_(options), settings_(settings), model_(model), optimizer_(optimizer), out_(out) {
  if (options_.save.empty()) return;
  check<ValueError>(same_folder(options_.save, options_.resume) || !has_training_states(options_.save), "--save-state ",
                    detail::quote_path(options_.save),
                    " holds the states of another run: go on with it by --resume, or name another folder");
  folder_.emplace(options_.save, options_.keep);
  interruption_.emplace();
}

TrainingProgress StateKeeper::resume() {
  if (options_.resume.empty()) return {};
  const auto found = newest_training_state(options_.resume);
  if (!found) {
    out_ << "no state in " << detail::quote_path(options_.resume) << ": training from the start\n";
    return {};
  }
  for (const std::string& damage : found->damaged) warn(damage + "; passed over");
  check_settings(*found);
  TrainingProgress progress = TrainingProgress::from_attributes(found->state.progress);
  restore(found->state, model_, optimizer_, default_generator());
  out_ << "going on from " << detail::quote_path(found->path) << ", after step " << progress.current.steps
       << " of epoch " << progress.epoch() + 1 << '\n';
  return progress;
}

void StateKeeper::check_settings(const FoundTrainingState& found) const {
  const Attributes theirs = found.state.progress.part(kSettings);
  std::set<std::string> keys;
  for (const Attributes* settings : {&theirs, &settings_})
    for (const auto& [key, value] : *settings) keys.insert(key);
  for (const std::string& key : keys) {
    const std::string before = described(theirs, key), now = described(settings_, key);
    check<ValueError>(before == now, detail::quote_path(found.path), " is of a run with ", before, ", this one has ",
                      now, "; go on with the same options");
  }
  const auto threads = found.state.progress.get<int64_t>(kThreads);
  if (threads != num_threads())
    warn(str("the run was saved with ", threads, " threads and goes on with ", num_threads(),
             ": its results may differ in their last bits"));
}

void StateKeeper::after_step(int64_t step, const TrainingProgress& progress) {
  if (!folder_) return;
  const int signal = interruption_->signal();
  if (signal == 0) {
    if (step % options_.every == 0) saving([&] { save(step, progress); });
    return;
  }
  save(step, progress);
  folder_->flush();
  throw Interrupted(
      signal, str("stopped by ", signal == SIGINT ? "SIGINT" : "SIGTERM", " after step ", progress.current.steps,
                  " of epoch ", progress.epoch() + 1, "; go on with --resume ", detail::quote_path(options_.save)));
}

void StateKeeper::finish(int64_t step, const TrainingProgress& progress) {
  if (!folder_) return;
  saving([&] { save(step, progress); });
  saving([&] { folder_->flush(); });
}

void StateKeeper::save(int64_t step, const TrainingProgress& progress) {
  Attributes attributes = progress.to_attributes();
  attributes.set_all(kSettings, settings_);
  attributes.set(kThreads, int64_t{num_threads()});
  folder_->save(step, capture(model_, optimizer_, default_generator(), attributes));
}

template <typename F>
void StateKeeper::saving(F&& f) {
  try {
    f();
  } catch (const IOError& error) {
    if (options_.on_error == "stop") throw;
    warn(str(error.what(), "; training goes on"));
  }
}

}  // namespace thimble::apps
