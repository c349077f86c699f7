#include "apps/state_keeper.h"

#include <filesystem>
#include <new>
#include <set>
#include <variant>

#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/warning.h"
#include <thimble/core/kernels/gemm/gemm.h>
#include <thimble/core/random.h>
#include <thimble/core/text.h>

namespace thimble::apps {

namespace {

constexpr const char *kSettings = "settings.", *kConditions = "conditions.";

// With all digits of numbers.
std::string described(const Attributes& settings, const std::string& key) {
  for (const auto& [name, value] : settings) {
    if (name != key) continue;
    if (const double* number = std::get_if<double>(&value)) return str(key, '=', nlohmann::json(*number).dump());
    return str(Attributes{{name, value}});
  }
  return "no " + key;
}

struct Difference {
  std::string theirs, ours;
};

// All that two runs do not share, in the order of its names.
std::vector<Difference> differences(const Attributes& theirs, const Attributes& ours) {
  std::set<std::string> keys;
  for (const Attributes* settings : {&theirs, &ours})
    for (const auto& [key, value] : *settings) keys.insert(key);
  std::vector<Difference> all;
  for (const std::string& key : keys) {
    Difference each{described(theirs, key), described(ours, key)};
    if (each.theirs != each.ours) all.push_back(std::move(each));
  }
  return all;
}

bool same_folder(const std::string& a, const std::string& b) {
  std::error_code error;
  return std::filesystem::equivalent(a, b, error);
}

// What is wrong if f() fails to save a state, for whatever reason: a run is worth more than its states. Empty: nothing.
template <typename F>
std::string problem_of(F&& f) {
  try {
    f();
    return "";
  } catch (const Error& error) {
    return error.what();
  } catch (const std::bad_alloc&) {
    return "cannot save the state: out of memory";
  }
}

// Without a name, a run that thinks to be safe would not be.
CLI::Validator named() {
  return {[](std::string& name) { return name.empty() ? std::string("The name of the folder is empty") : ""; }, ""};
}

}  // namespace

void StateOptions::add_to(CLI::App& command) {
  CLI::Option* folder =
      command
          .add_option(
              "--save-state", save,
              "Save the whole state of the run in this folder, every --save-every steps and when SIGINT, SIGTERM or "
              "SIGHUP (the terminal is closed) ends it")
          ->type_name("DIR")
          ->check(named());
  command.add_option("--save-every", every, "Steps between saved states")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1000000000}))
      ->needs(folder);
  command.add_option("--keep-states", keep, "How many saved states stay, the newest; the disk needs room for one more")
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
                  "the same, bit for bit, as without interruption, on a processor of the same kind. A folder without "
                  "states: from the start")
      ->type_name("DIR")
      ->check(named());
}

StateKeeper::StateKeeper(const StateOptions& options, const Attributes& settings, nn::Module& model,
                         optim::Optimizer& optimizer, std::ostream& out)
    : options_(options), settings_(settings), model_(model), optimizer_(optimizer), out_(out) {
  if (options_.save.empty()) return;
  folder_.emplace(options_.save, options_.keep);
  // Asked when nobody else can save there any more.
  check<ValueError>(same_folder(options_.save, options_.resume) || !has_training_states(options_.save), "--save-state ",
                    detail::quote_path(options_.save),
                    " holds states of a run already: go on with it by --resume, or name another folder");
}

std::string origin_of(const TrainingState& state) {
  const Attributes settings = state.progress.part(kSettings);
  if (!settings.contains(kSubcommand)) return "";
  return str("of a run of thimble ", settings.get<std::string>(kSubcommand), ", after ",
             TrainingProgress::from_attributes(state.progress).described());
}

TrainingProgress StateKeeper::resume(int64_t epochs, int64_t steps) {
  if (options_.resume.empty()) return {};
  const auto found = newest_training_state(options_.resume);
  if (!found) {
    out_ << "no state in " << detail::quote_path(options_.resume) << ": training from the start\n";
    return {};
  }
  for (const std::string& damage : found->damaged) warn(damage + "; passed over, and removed when the run saves there");
  check_settings(*found);
  TrainingProgress progress = TrainingProgress::from_attributes(found->state.progress);
  const bool over = progress.epoch() == epochs;
  check<FormatError>(progress.epoch() <= epochs && progress.current.steps <= (over ? 0 : steps),
                     detail::quote_path(found->path), " is after ", progress.described(), ", but the run has ", epochs,
                     " epochs of ", steps, " steps");
  if (!over) compare_conditions(*found);
  restore(found->state, model_, optimizer_, default_generator());
  if (over)
    out_ << detail::quote_path(found->path) << " is the end of the run, after epoch " << epochs << " of " << epochs
         << ": nothing is left to train\n";
  else
    out_ << "going on from " << detail::quote_path(found->path) << ", after " << progress.described() << '\n';
  return progress;
}

void StateKeeper::check_settings(const FoundTrainingState& found) const {
  Attributes saved = found.state.progress.part(kSettings);
  if (settings_.contains(kPrecision) && !saved.contains(kPrecision)) saved.set(kPrecision, std::string(kFloat32));
  const auto subcommand = [](const Attributes& settings) { return settings.get<std::string>(kSubcommand, "?"); };
  check<ValueError>(subcommand(saved) == subcommand(settings_), detail::quote_path(found.path),
                    " is of a run of thimble ", subcommand(saved), ", and this is thimble ", subcommand(settings_),
                    "; name another folder");
  std::string before, now;
  for (const auto& [theirs, ours] : differences(saved, settings_)) {
    before += (before.empty() ? "" : ", ") + theirs;
    now += (now.empty() ? "" : ", ") + ours;
  }
  check<ValueError>(before.empty(), detail::quote_path(found.path), " is of a run with ", before, ", this one has ",
                    now, "; go on with the same options, or name another folder");
}

// Sums of floats depend on them in their last bits.
Attributes StateKeeper::conditions() { return {{"matrix products", kernels::gemm_description()}}; }

void StateKeeper::compare_conditions(const FoundTrainingState& found) {
  const Attributes then = found.state.progress.part(kConditions), now = conditions();
  // Versions that multiplied with OpenBLAS had other conditions.
  if (!then.contains("matrix products"))
    return warn("the run was saved by another version: its results may differ in their last bits");
  for (const auto& [theirs, ours] : differences(then, now))
    warn(str("the run was saved with ", theirs, " and goes on with ", ours,
             ": its results may differ in their last bits"));
}

void StateKeeper::after_step(TrainingRun& run) {
  if (interruption_.signal() || saves_after(run.steps())) after_step(run.steps(), run.snapshot());
}

void StateKeeper::after_step(int64_t step, const TrainingProgress& progress) {
  if (const int signal = interruption_.signal()) stop(signal, step, progress);
  if (saves_after(step)) saving([&] { save(step, progress); }, "training goes on");
}

// Whoever has sent the signal shall see by the status that it was obeyed, saved or not.
void StateKeeper::stop(int signal, int64_t step, const TrainingProgress& progress) {
  const std::string stopped = str("stopped by ", Interruption::name(signal), " after ", progress.described());
  if (!folder_) throw Interrupted(signal, stopped + "; nothing was saved; a run with --save-state DIR can be resumed");
  // The first may be the problem of an earlier state, with this one written nevertheless.
  const std::string before = problem_of([&] { save(step, progress); });
  if (!before.empty()) warn(before);
  const std::string last = problem_of([&] { folder_->flush(); });
  const std::string problem = last.empty() ? "" : "; a state could not be saved: " + last;
  throw Interrupted(signal, stopped + problem + advice());
}

void StateKeeper::finish(int64_t step, const TrainingProgress& progress) {
  if (!folder_) return;
  folder_->wait();  // or the state before would give way to the last
  constexpr const char* kNevertheless = "training is over and needs it no more";
  saving([&] { save(step, progress); }, kNevertheless);
  saving([&] { folder_->flush(); }, kNevertheless);
}

std::string StateKeeper::advice() const {
  bool saved = false;
  if (folder_)
    problem_of([&] { saved = has_training_states(options_.save); });  // a problem: nobody can go on from there
  return saved ? "; go on with the same options and --resume " + detail::quote_path(options_.save) : "";
}

void StateKeeper::save(int64_t step, const TrainingProgress& progress) {
  Attributes attributes = progress.to_attributes();
  attributes.set_all(kSettings, settings_);
  attributes.set_all(kConditions, conditions());
  folder_->save(step, capture(model_, optimizer_, default_generator(), attributes));
}

template <typename F>
void StateKeeper::saving(F&& f, const char* nevertheless) {
  const std::string problem = problem_of(f);
  if (problem.empty()) return;
  if (options_.on_error == "stop") throw IOError(problem + advice());
  warn(str(problem, "; ", nevertheless));
}

}  // namespace thimble::apps
