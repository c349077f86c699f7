#include <algorithm>
#include <cerrno>
#include <charconv>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>

#include <thimble/core/text.h>
#include <thimble/serialization/io_error.h>
#include <thimble/serialization/training_state_folder.h>

namespace thimble {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "state-", kSuffix = ".safetensors";

fs::path file_name(int64_t step) { return str(kPrefix, step, kSuffix); }

std::optional<int64_t> step_of(const std::string& name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return {};
  const char *begin = name.data() + kPrefix.size(), *end = name.data() + name.size() - kSuffix.size();
  int64_t step = -1;
  const auto [rest, error] = std::from_chars(begin, end, step);
  if (error != std::errc() || rest != end || step < 0) return {};
  return step;
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::error_code error;
  std::vector<std::string> names;
  fs::directory_iterator it(folder, error);
  for (; !error && it != fs::directory_iterator(); it.increment(error)) names.push_back(it->path().filename().native());
  if (error) detail::throw_io_error("read the folder", folder, error.value());
  return names;
}

// Newest first.
std::vector<int64_t> steps_in(const fs::path& folder) {
  std::vector<int64_t> steps;
  for (const std::string& name : names_in(folder))
    if (const auto step = step_of(name); step && name == file_name(*step).native()) steps.push_back(*step);
  std::ranges::sort(steps, std::greater());
  return steps;
}

detail::FileDescriptor locked(const fs::path& folder) {
  detail::FileDescriptor fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.is_open()) detail::throw_io_error("open the folder", folder, errno);
  // Some network file systems have no locks: there, it is up to the user.
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    throw IOError(str("cannot write to ", detail::quote_path(folder),
                      ": another run saves its states there; wait for it or name another folder"));
  return fd;
}

// Of AtomicFile, by a run that was killed: the lock says that nobody writes them any more.
void remove_half_written(const fs::path& folder) {
  for (const std::string& name : names_in(folder))
    if (name.starts_with(".thimble-") && name.ends_with(".tmp")) {
      std::error_code ignored;
      fs::remove(folder / name, ignored);
    }
}

}  // namespace

TrainingStateFolder::TrainingStateFolder(const fs::path& folder, int64_t keep) : folder_(folder), keep_(keep) {
  check<ValueError>(keep >= 1, "TrainingStateFolder: cannot keep ", keep, " states");
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) detail::throw_io_error("make the folder", folder_, error.value());
  lock_ = locked(folder_);
  remove_half_written(folder_);
  writer_ = std::thread([this] { work(); });
}

TrainingStateFolder::~TrainingStateFolder() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  writer_.join();
}

void TrainingStateFolder::save(int64_t step, TrainingState state) {
  check<ValueError>(step >= 0, "TrainingStateFolder: step ", step, " is negative");
  std::unique_lock lock(mutex_);
  pending_ = Pending{step, std::move(state)};
  changed_.notify_all();
  rethrow_error(lock);
}

void TrainingStateFolder::flush() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !pending_ && !writing_; });
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

void TrainingStateFolder::write(const Pending& pending) const {
  save_training_state(folder_ / file_name(pending.step), pending.state);
  int64_t kept = 0;
  for (const int64_t step : steps_in(folder_)) {
    if (step <= pending.step && kept++ < keep_) continue;
    std::error_code ignored;  // it may be gone already; the next save tries again
    fs::remove(folder_ / file_name(step), ignored);
  }
}

bool has_training_states(const fs::path& folder) { return fs::exists(folder) && !steps_in(folder).empty(); }

std::optional<FoundTrainingState> newest_training_state(const fs::path& folder) {
  std::vector<std::string> damaged;
  for (const int64_t step : steps_in(folder)) {
    const fs::path path = folder / file_name(step);
    try {
      return FoundTrainingState{load_training_state(path), path, std::move(damaged)};
    } catch (const Error& error) {
      damaged.emplace_back(error.what());
    }
  }
  if (damaged.empty()) return {};
  throw FormatError(str(detail::quote_path(folder), ": none of its ", damaged.size(),
                        " training states is valid; the newest: ", damaged.front()));
}

}  // namespace thimble
