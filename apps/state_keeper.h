// --save-state and --resume: a run's states on disk.
#pragma once

#include <optional>
#include <ostream>
#include <string>

#include "apps/interruption.h"
#include <thimble/nn/training/fit.h>
#include <thimble/serialization/training_state_folder.h>

namespace CLI {
class App;
}

namespace thimble::apps {

/// The setting that says which of the program's subcommands a run is of.
inline constexpr const char* kSubcommand = "subcommand";
/// That of products, as --precision names it, and what runs have whose states do not say.
inline constexpr const char *kPrecision = "--precision", *kFloat32 = "float32";

struct StateOptions {
  std::string save, resume;  ///< folders; empty: none
  int64_t every = 500, keep = 3;
  std::string on_error = "continue";  ///< or "stop"

  bool in_use() const { return !save.empty() || !resume.empty(); }

  /// Adds --save-state and its like to a subcommand.
  void add_to(CLI::App& command);
};

/// Whose state this is and how far it has come: "of a run of thimble train, after step 3 of epoch 2". Empty for one
/// that this program has not saved. Throws FormatError.
std::string origin_of(const TrainingState& state);

/// Saves the state of a run now and then, and where a signal ends it. Takes note of signals as long as it lives.
class StateKeeper : public Callback {
 public:
  /// What belongs to the run; all must outlive the keeper. `settings` are its options by name: it only goes on from a
  /// state with the same. `out` is for people. Throws ValueError if the folder to save in holds states of another run,
  /// IOError.
  StateKeeper(const StateOptions& options, const Attributes& settings, nn::Module& model, optim::Optimizer& optimizer,
              std::ostream& out);

  /// Where the run, of so many epochs of so many steps, begins: at the newest valid state of --resume, to which model,
  /// optimizer and this thread's default generator are set, or at the start. Throws FormatError or ValueError if it
  /// cannot go on from there; nothing is changed then.
  TrainingProgress resume(int64_t epochs, int64_t steps);

  void after_step(TrainingRun& run) override;
  void on_end(TrainingRun& run) override { finish(run.steps(), run.snapshot()); }

  /// To be called after each step, whose number counts from the start of the run. Throws Interrupted if a signal has
  /// come, when the state is saved, could not be, or was not to be; IOError for an error of saving only if
  /// --on-save-error says stop.
  void after_step(int64_t step, const TrainingProgress& progress);

  /// How to go on, to be added to an error: "; go on with ..."; empty if no state is saved.
  std::string advice() const;

  /// Saves the state at the end of the run, and waits until it is on disk.
  void finish(int64_t step, const TrainingProgress& progress);

 private:
  bool saves_after(int64_t step) const { return folder_ && step % options_.every == 0; }
  void save(int64_t step, const TrainingProgress& progress);
  /// f(); its error ends the run or is a warning, as told, with what becomes of the run in spite of it.
  template <typename F>
  void saving(F&& f, const char* nevertheless);
  [[noreturn]] void stop(int signal, int64_t step, const TrainingProgress& progress);
  void check_settings(const FoundTrainingState& found) const;
  static Attributes conditions();
  static void compare_conditions(const FoundTrainingState& found);

  StateOptions options_;
  Attributes settings_;
  nn::Module& model_;
  optim::Optimizer& optimizer_;
  std::ostream& out_;
  std::optional<TrainingStateFolder> folder_;
  Interruption interruption_;
};

}  // namespace thimble::apps
