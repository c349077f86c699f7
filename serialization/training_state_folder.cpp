#include <algorithm>
#include <cerrno>
#include <charconv>
#include <memory>
#include <system_error>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <thimble/core/platform/io_error.h>
#include <thimble/core/text.h>
#include <thimble/serialization/folders.h>
#include <thimble/serialization/safetensors.h>
#include <thimble/serialization/training_state_folder.h>
#include <thimble/serialization/version_error.h>

namespace thimble {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStatePrefix = "state-", kStateSuffix = ".safetensors";
// Temporary files of states alone: others may save what they like in the folder, too.
constexpr std::string_view kTemporaryPrefix = ".state-", kTemporarySuffix = ".tmp";
constexpr const char* kLock = ".lock";

fs::path file_name(int64_t step) { return str(kStatePrefix, step, kStateSuffix); }

std::optional<int64_t> step_of(const std::string& name) {
  if (!name.starts_with(kStatePrefix) || !name.ends_with(kStateSuffix)) return {};
  const char *begin = name.data() + kStatePrefix.size(), *end = name.data() + name.size() - kStateSuffix.size();
  int64_t step = -1;
  const auto [rest, error] = std::from_chars(begin, end, step);
  if (error != std::errc() || rest != end || step < 0) return {};
  return step;
}

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

// Their names, without those of folders. A std::filesystem::directory_iterator would end the program where there is no
// memory for a name.
std::vector<std::string> files_in(const fs::path& folder) {
  const std::unique_ptr<DIR, CloseFolder> open(::opendir(folder.c_str()));
  if (!open) detail::throw_io_error("read the folder", folder, errno);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(open.get())) {
    struct stat status {};
    const bool is_folder = ::fstatat(::dirfd(open.get()), entry->d_name, &status, 0) == 0 && S_ISDIR(status.st_mode);
    if (!is_folder) names.emplace_back(entry->d_name);
    errno = 0;  // what readdir() gives at the end is an error only if it says so
  }
  if (errno != 0) detail::throw_io_error("read the folder", folder, errno);
  return names;
}

// Newest first.
std::vector<int64_t> steps_in(const fs::path& folder) {
  std::vector<int64_t> steps;
  for (const std::string& name : files_in(folder))
    if (const auto step = step_of(name); step && name == file_name(*step).native()) steps.push_back(*step);
  std::ranges::sort(steps, std::greater());
  return steps;
}

// A file of its own, which stays: a folder cannot be opened for writing, without which NFS gives no lock.
detail::FileDescriptor lock_file(const fs::path& folder) {
  const fs::path path = folder / kLock;
  detail::FileDescriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (!fd.is_open()) detail::throw_io_error("write", path, errno);
  return fd;
}

// Whether there is a lock now. Some network file systems have none: there, it is up to the user.
bool take_lock(const detail::FileDescriptor& fd, const fs::path& folder) {
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return true;
  if (errno == EWOULDBLOCK)
    throw IOError(str("cannot write to ", detail::quote_path(folder),
                      ": another run saves its states there; wait for it or name another folder"));
  return false;
}

// By a run that was killed. To be called with the lock, which says that nobody writes them any more.
void remove_half_written(const fs::path& folder) {
  for (const std::string& name : files_in(folder))
    if (name.starts_with(kTemporaryPrefix) && name.ends_with(kTemporarySuffix)) {
      std::error_code ignored;
      fs::remove(folder / name, ignored);
    }
}

// Whether the bytes are not what was written. False if they cannot be read.
bool is_damaged(const fs::path& path) {
  try {
    (void)verify_safetensors(path);
  } catch (const FormatError&) {
    return true;
  } catch (const IOError&) {
  }
  return false;
}

// The newest valid state of those that are there now; `gone` if one of them was removed before it could be read.
std::optional<FoundTrainingState> newest_of(const fs::path& folder, bool& gone) {
  std::vector<std::string> damaged;
  for (const int64_t step : steps_in(folder)) {
    const fs::path path = folder / file_name(step);
    try {
      return FoundTrainingState{load_training_state(path), path, std::move(damaged)};
    } catch (const FormatError& error) {
      // A whole file that cannot be read is a later program's state, or something else of this name.
      if (!is_damaged(path)) {
        if (dynamic_cast<const VersionError*>(&error)) throw;
        throw FormatError(str(error.what(), "; move it away to go on from an earlier state"));
      }
      damaged.emplace_back(error.what());
    } catch (const IOError&) {
      // What is there may be readable in a minute, and to go on from an earlier one would be its end.
      std::error_code unknown;
      if (fs::exists(path, unknown) || unknown) throw;
      gone = true;
    }
  }
  if (damaged.empty() || gone) return {};
  throw FormatError(str(detail::quote_path(folder), ": no training state in it is valid; the newest: ", damaged.front(),
                        "; remove them, or name another folder, to train from the start"));
}

}  // namespace

TrainingStateFolder::TrainingStateFolder(const fs::path& folder, int64_t keep) : folder_(folder), keep_(keep) {
  check<ValueError>(keep >= 1, "TrainingStateFolder: cannot keep ", keep, " states");
  detail::make_folders(folder_);
  lock_ = lock_file(folder_);
  if (take_lock(lock_, folder_)) remove_half_written(folder_);
  writer_.emplace([this] { work(); });
}

TrainingStateFolder::~TrainingStateFolder() {
  if (!writer_->is_here()) {
    leave_to_parent();
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  writer_->join();
}

// The parent's writer has all that is to be written. What it was about to change when this process was forked is not to
// be touched.
void TrainingStateFolder::leave_to_parent() noexcept {
  if (!mutex_.try_lock()) detail::renew(pending_);
  detail::renew(valid_);
  detail::renew(mutex_);
  detail::renew(changed_);
}

void TrainingStateFolder::save(int64_t step, TrainingState state) {
  check_process();
  check<ValueError>(step >= 0, "TrainingStateFolder: step ", step, " is negative");
  std::unique_lock lock(mutex_);
  pending_ = Pending{step, std::move(state)};
  changed_.notify_all();
  rethrow_error(lock);
}

void TrainingStateFolder::check_process() const {
  check<ValueError>(writer_->is_here(), "TrainingStateFolder: ", detail::quote_path(folder_),
                    " belongs to the process that this one was forked from; save there, or open another here");
}

void TrainingStateFolder::wait() {
  check_process();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !pending_ && !writing_; });
}

void TrainingStateFolder::flush() {
  wait();
  std::unique_lock lock(mutex_);
  rethrow_error(lock);
}

void TrainingStateFolder::rethrow_error(std::unique_lock<std::mutex>& lock) {
  const std::exception_ptr error = std::exchange(error_, nullptr);
  lock.unlock();
  if (error) std::rethrow_exception(error);
}

void TrainingStateFolder::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return pending_ || stopping_; });
    if (!pending_) return;
    std::exception_ptr error;
    writing_ = true;
    {
      const Pending pending = std::move(*pending_);
      pending_.reset();
      lock.unlock();
      try {
        write(pending);
      } catch (...) {
        error = std::current_exception();
      }
    }
    lock.lock();
    writing_ = false;
    if (error) error_ = error;
    changed_.notify_all();
  }
}

void TrainingStateFolder::write(const Pending& pending) {
  save_training_state(folder_ / file_name(pending.step), pending.state, kTemporaryPrefix);
  valid_.insert(pending.step);
  int64_t kept = 0;
  for (const int64_t step : steps_in(folder_)) {
    const fs::path path = folder_ / file_name(step);
    const bool valid = is_valid(step);
    if (valid && step <= pending.step && kept++ < keep_) continue;
    if (!valid && !is_damaged(path)) continue;
    std::error_code ignored;  // it may be gone already; the next save tries again
    fs::remove(path, ignored);
    valid_.erase(step);
  }
}

bool TrainingStateFolder::is_valid(int64_t step) {
  if (valid_.contains(step)) return true;
  try {
    load_training_state(folder_ / file_name(step));
  } catch (const FormatError&) {
    return false;
  } catch (const IOError&) {
    return false;
  }
  valid_.insert(step);
  return true;
}

bool is_training_state_file(std::string_view name) {
  return name == kLock || name.starts_with(kStatePrefix) || name.starts_with(kTemporaryPrefix);
}

bool has_training_states(const fs::path& folder) {
  std::error_code error;
  if (fs::exists(folder, error)) return !steps_in(folder).empty();
  if (error) detail::throw_io_error("read the folder", folder, error.value());
  return false;
}

std::optional<FoundTrainingState> newest_training_state(const fs::path& folder) {
  // A run that saves there meanwhile removes old states, perhaps all that were listed.
  constexpr int kLists = 100;
  for (int i = 0; i < kLists; ++i) {
    bool gone = false;
    if (auto found = newest_of(folder, gone); found || !gone) return found;
  }
  throw IOError(str("cannot read ", detail::quote_path(folder),
                    ": its states change faster than they can be read; wait for the run that saves there"));
}

}  // namespace thimble
