// A folder of training states, of which the last few are kept, written in the background.
//
//   TrainingStateFolder folder("states", 3);
//   folder.save(step, capture(net, adam, default_generator(), progress));  // every 1000 steps
//   auto found = newest_training_state("states");                          // after a crash
#pragma once

#include <condition_variable>
#include <exception>
#include <filesystem>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/platform/file_descriptor.h>
#include <thimble/core/platform/fork.h>
#include <thimble/serialization/training_state.h>

namespace thimble {

/// Writes "state-<step>.safetensors" files, each whole or not at all, by a thread of its own. It belongs to the process
/// that made it: in a forked child its functions throw ValueError, and its destructor writes nothing.
class THIMBLE_API TrainingStateFolder {
 public:
  /// Makes the folder if there is none. Until the object goes no other may be made for the folder, in this process or
  /// another: it locks the file ".lock" there, which stays. Removes what a killed run has left half-written
  /// (".state-*.tmp"), unless the file system has no locks. `keep` is how many states stay. Throws IOError, ValueError
  /// for a keep below 1.
  explicit TrainingStateFolder(const std::filesystem::path& folder, int64_t keep = 3);
  /// Waits until all is written; an error that nobody has asked for is lost.
  ~TrainingStateFolder();
  TrainingStateFolder(const TrainingStateFolder&) = delete;
  TrainingStateFolder& operator=(const TrainingStateFolder&) = delete;

  /// Hands a state over to be written and returns. A state that still waits for the one before it to be written gives
  /// way to this one. Once it is on disk, states of later steps (damaged, or from a run that was resumed before them),
  /// damaged ones of earlier steps, and all but the last `keep` valid ones are removed; what cannot be read stays, and
  /// does not count. Throws the error of an earlier save (IOError, ValueError, std::bad_alloc), whose state is not in
  /// the folder, or, if only flushing failed, may not survive a power failure; those before it are there, and this one
  /// will be written nevertheless.
  void save(int64_t step, TrainingState state);

  /// Waits until all is written: what was saved does not give way any more.
  void wait();
  /// The same. Throws the error of a save.
  void flush();

 private:
  struct Pending {
    int64_t step;
    TrainingState state;
  };

  void work();
  void write(const Pending& pending);
  bool is_valid(int64_t step);
  void check_process() const;
  void leave_to_parent() noexcept;
  void rethrow_error(std::unique_lock<std::mutex>& lock);

  std::filesystem::path folder_;
  int64_t keep_;
  detail::FileDescriptor lock_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Pending> pending_;
  bool writing_ = false, stopping_ = false;
  std::exception_ptr error_;
  std::set<int64_t> valid_;  // known to be so: written or read by this object; for the writer alone
  std::optional<detail::OwnThread> writer_;
};

/// Whether a TrainingStateFolder may make, replace or remove a file of this name in its folder: others need other
/// names.
THIMBLE_API bool is_training_state_file(std::string_view name);

/// Whether the folder exists and holds files that are named as training states. Throws IOError if it cannot be told.
THIMBLE_API bool has_training_states(const std::filesystem::path& folder);

/// What newest_training_state() has found.
struct THIMBLE_API FoundTrainingState {
  TrainingState state;
  std::filesystem::path path;
  std::vector<std::string> damaged;  ///< what is wrong with newer ones, which were passed over
};
/// The valid state of the highest step; none if the folder holds no states at all. Throws IOError if the folder or a
/// state that is newer than this cannot be read, VersionError for one that a later program has written, FormatError for
/// another file of such a name (none of these is damaged: to go on from an earlier state would mean to lose it), and if
/// all states are damaged.
THIMBLE_API std::optional<FoundTrainingState> newest_training_state(const std::filesystem::path& folder);

}  // namespace thimble
