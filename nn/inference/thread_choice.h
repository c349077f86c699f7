// Whether the calls of a small program are faster on the calling thread alone.
//
// What threads gain is a part of the time of layers of a few microseconds; what they cost, to meet and to fetch values
// from each other's caches, is a matter of the machine, and no less. So some calls are trials, of each kind in turn:
// the first when a program has been called so often that it will be again, then one now and then. Answers have the same
// bits either way.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace thimble::nn {

/// May be used by several threads at once.
class ThreadChoice {
 public:
  using Clock = std::chrono::steady_clock;
  /// Calls that take longer are worth all threads.
  static constexpr Clock::duration kLong = std::chrono::milliseconds(2);

  /// A call to be made.
  struct Call {
    bool alone = false;
    bool is_timed = false;  ///< its time is to be noted
    uint32_t trial = 0;     ///< it belongs to
  };

  /// For a program that may use so many threads: what was found out for another number does not count.
  Call next(int threads);
  /// A timed call took so long. Calls that fail are not noted.
  void note(const Call& call, Clock::duration time);

 private:
  static constexpr int64_t kBefore = 64, kBlock = 4, kTrial = 4 * kBlock, kPeriod = 512;

  // The least time of a trial's calls of one kind. Word: the trial, and nanoseconds in the lower kTimeBits, so that a
  // call which comes late cannot be taken for one of the trial after.
  class Least {
   public:
    static constexpr int kTimeBits = 40;
    static constexpr uint64_t kNone = (uint64_t{1} << kTimeBits) - 1;

    void begin(uint32_t trial) { word_.store(word(trial, kNone), std::memory_order_relaxed); }
    void note(uint32_t trial, Clock::duration time);
    /// kNone if none was noted.
    uint64_t of(uint32_t trial) const;

   private:
    static uint64_t word(uint32_t trial, uint64_t time) { return uint64_t{trial} << kTimeBits | time; }
    std::atomic<uint64_t> word_{0};
  };

  void begin_anew(int threads, int64_t call);
  bool is_worth_trying_alone(uint32_t trial) const;
  void decide(uint32_t trial);

  std::atomic<int> threads_{0};
  std::atomic<int64_t> calls_{0}, first_{0};  // first_: of those with threads_
  std::atomic<bool> alone_{false};
  Least together_least_, alone_least_;
};

}  // namespace thimble::nn
