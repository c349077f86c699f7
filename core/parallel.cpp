#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <list>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <utility>

#include <pthread.h>
#include <sched.h>

#include <thimble/core/error.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/fork.h>

namespace thimble {

namespace {

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

thread_local bool inside_parallel = false;  // on the pool: nested loops run their pieces here
thread_local bool alone = false;
thread_local int loops_running = 0;

auto nothing = [](int64_t, int64_t) {};  // what a pool that has not run does

struct Job {
  detail::RangeBody body = nothing;
  int64_t n = 0;
  int pieces = 0;

  // Piece i of p covers [i*n/p, (i+1)*n/p).
  void run(int piece) const {
    const int64_t base = n / pieces, extra = n % pieces;
    const int64_t begin = piece * base + std::min<int64_t>(piece, extra);
    body(begin, begin + base + (piece < extra ? 1 : 0));
  }
};

// Each parallel loop is a generation. Worker i takes piece i, so that data stays in its core's cache from loop to loop;
// but a piece whose worker has not come by the time the caller is done with its own (the worker sleeps, or its core is
// busy with another program) is taken by the caller.
//
// Workers wait for the next generation by spinning for a while, since the next loop of a forward or backward pass comes
// within microseconds, then by offering their core to others for a millisecond, in which small layers may need no
// other thread, and then by sleeping, so that an idle program costs nothing. To wake one takes the caller ten times as
// long as the loop of a small layer (30 to 80 us in a virtual machine; a worker that is awake costs 0.8 us).
class Pool {
 public:
  ~Pool() { stop(); }

  void run(const Job& job) {
    if (static_cast<int>(workers_.size()) < job.pieces - 1) start(job.pieces - 1);
    job_ = job;
    unfinished_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
    const uint64_t generation = generation_.fetch_add(1, std::memory_order_seq_cst) + 1;
    if (sleeping_.load(std::memory_order_seq_cst) > 0) {
      std::lock_guard lock(mutex_);
      wake_.notify_all();
    }
    run_piece(0);
    // A worker that is awake has its piece by now. To look whether it does would fetch what it is about to write.
    for (int spins = 0; spins < kSpinsForAwake && unfinished_.load(std::memory_order_acquire) > 0; ++spins) pause();
    if (unfinished_.load(std::memory_order_acquire) > 0)
      for (Worker& worker : workers_) take(worker, generation);
    for (int piece = static_cast<int>(workers_.size()) + 1; piece < job.pieces; ++piece) run_piece(piece);
    // Past a few thousand spins a worker has probably lost its core: let it have this one.
    for (int spins = 0; unfinished_.load(std::memory_order_acquire) > 0; ++spins) {
      if (spins < kSpins)
        pause();
      else
        sched_yield();
    }
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

  /// In a forked child, which has none of the workers.
  void begin_anew() {
    workers_.clear();
    detail::renew(*this);
  }

  void stop() {
    if (workers_.empty()) return;
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      wake_.notify_all();
    }
    generation_.fetch_add(1);
    for (Worker& worker : workers_) worker.thread.join();
    workers_.clear();
    stopping_ = false;
  }

 private:
  static constexpr int kSpins = 4000, kSpinsForAwake = 20, kSpinsOfYield = 40, kYieldsOfLook = 4;
  // By the clock: to yield takes as long as others make of it, and pauses differ between processors by a factor of ten.
  static constexpr std::chrono::milliseconds kYielding{1};

  struct alignas(64) Worker {
    int piece;
    // The generation whose piece was taken last. Who moves it on, worker or caller, runs that piece; a worker that
    // comes too late cannot, and so never looks at a job that is over.
    std::atomic<uint64_t> taken;
    detail::OwnThread thread;

    Worker(Pool& pool, int its_piece, uint64_t generation)
        : piece(its_piece), taken(generation), thread([this, &pool] { pool.work(*this); }) {}
  };

  void start(int count) {
    while (static_cast<int>(workers_.size()) < count) {
      try {
        workers_.emplace_back(*this, static_cast<int>(workers_.size()) + 1, generation_.load());
      } catch (const std::system_error&) {  // the process may have no more threads: the caller does their pieces
        return;
      } catch (const std::bad_alloc&) {  // nor memory for them
        return;
      }
    }
  }

  void work(Worker& worker) {
    inside_parallel = true;
    uint64_t seen = worker.taken.load();
    while (true) {
      seen = wait_for_next(seen);
      if (stopping_) return;
      take(worker, seen);
    }
  }

  // Runs the worker's piece of this generation, unless that was taken already.
  void take(Worker& worker, uint64_t generation) {
    uint64_t before = generation - 1;
    if (!worker.taken.compare_exchange_strong(before, generation, std::memory_order_acq_rel)) return;
    run_piece(worker.piece);
    unfinished_.fetch_sub(1, std::memory_order_release);
  }

  uint64_t wait_for_next(uint64_t seen) {
    for (int spins = 0; spins < kSpins; ++spins) {
      if (const uint64_t g = generation_.load(std::memory_order_acquire); g != seen) return g;
      pause();
    }
    using Clock = std::chrono::steady_clock;
    const Clock::time_point end = Clock::now() + kYielding;
    for (int yields = 1; yields % kYieldsOfLook != 0 || Clock::now() < end; ++yields) {
      sched_yield();
      for (int spins = 0; spins < kSpinsOfYield; ++spins) {
        if (const uint64_t g = generation_.load(std::memory_order_acquire); g != seen) return g;
        pause();
      }
    }
    std::unique_lock lock(mutex_);
    sleeping_.fetch_add(1, std::memory_order_seq_cst);
    wake_.wait(lock, [&] { return generation_.load(std::memory_order_seq_cst) != seen || stopping_; });
    sleeping_.fetch_sub(1, std::memory_order_seq_cst);
    return generation_.load(std::memory_order_acquire);
  }

  void run_piece(int piece) {
    if (piece >= job_.pieces) return;
    const int forks = detail::forks_so_far();
    std::exception_ptr error;
    try {
      job_.run(piece);
    } catch (...) {
      error = std::current_exception();
    }
    // Nothing else of the loop is in a child: this ends it, on a worker's thread with the process.
    check<Error>(forks == detail::forks_so_far(), "parallel_for: the process was forked inside it; the child has no ",
                 "threads for the other pieces: let it leave by exit() or exec");
    if (!error) return;
    std::lock_guard lock(mutex_);
    if (!error_) error_ = error;
  }

  // What the caller writes and workers wait for, in one cache line; what workers write, in others.
  alignas(64) std::atomic<uint64_t> generation_{0};
  Job job_;
  alignas(64) std::atomic<int> unfinished_{0};
  std::exception_ptr error_;
  alignas(64) std::atomic<int> sleeping_{0};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::list<Worker> workers_;  // a list, because workers do not move
};

std::mutex pool_in_use;

Pool& pool();

void begin_anew_in_child() {
  pool().begin_anew();
  if (!inside_parallel) detail::renew(pool_in_use);  // else this thread holds it, or never asks for it
}

Pool& pool() {
  static Pool pool;
  [[maybe_unused]] static const int handler = pthread_atfork(nullptr, nullptr, begin_anew_in_child);
  return pool;
}

int available_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

std::atomic<int>& thread_count() {
  static std::atomic<int> count{available_cores()};
  return count;
}

}  // namespace

int num_threads() { return thread_count().load(std::memory_order_relaxed); }

void set_num_threads(int n) {
  check(n >= 1 && n <= 1024, "set_num_threads: ", n, " is not between 1 and 1024");
  check(!inside_parallel && loops_running == 0, "set_num_threads: called from inside parallel_for");
  std::lock_guard lock(pool_in_use);
  if (n < num_threads()) pool().stop();
  thread_count().store(n, std::memory_order_relaxed);
}

bool loops_run_alone() { return alone || inside_parallel || num_threads() == 1; }

OnThisThread::OnThisThread() : before_(std::exchange(alone, true)) {}
OnThisThread::~OnThisThread() { alone = before_; }

void parallel_for(int64_t n, int64_t grain, detail::RangeBody body) {
  if (n <= 0) return;
  const int64_t most = n / std::max<int64_t>(grain, 1);
  const Job job{body, n, alone ? 1 : static_cast<int>(std::clamp<int64_t>(most, 1, num_threads()))};
  struct Running {
    Running() { ++loops_running; }
    ~Running() { --loops_running; }
  } running;
  if (job.pieces == 1) return body(0, n);
  if (!inside_parallel && pool_in_use.try_lock()) {
    std::lock_guard lock(pool_in_use, std::adopt_lock);
    inside_parallel = true;
    struct Leave {
      ~Leave() { inside_parallel = false; }
    } leave;
    pool().run(job);
    return;
  }
  for (int piece = 0; piece < job.pieces; ++piece) job.run(piece);
}

}  // namespace thimble
