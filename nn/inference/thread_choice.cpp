#include <algorithm>

#include <thimble/nn/inference/thread_choice.h>

namespace thimble::nn {

namespace {

uint64_t nanoseconds(ThreadChoice::Clock::duration time) {
  return static_cast<uint64_t>(std::max<int64_t>(0, std::chrono::nanoseconds(time).count()));
}

}  // namespace

void ThreadChoice::Least::note(uint32_t trial, Clock::duration time) {
  const uint64_t noted = word(trial, std::min(nanoseconds(time), kNone - 1));
  uint64_t least = word_.load(std::memory_order_relaxed);
  while (least >> kTimeBits == trial && noted < least)
    if (word_.compare_exchange_weak(least, noted, std::memory_order_relaxed)) return;
}

uint64_t ThreadChoice::Least::of(uint32_t trial) const {
  const uint64_t least = word_.load(std::memory_order_relaxed);
  return least >> kTimeBits == trial ? least & kNone : kNone;
}

ThreadChoice::Call ThreadChoice::next(int threads) {
  const int64_t call = calls_.fetch_add(1, std::memory_order_relaxed);
  if (threads_.load(std::memory_order_acquire) != threads) begin_anew(threads, call);
  const int64_t since = call - first_.load(std::memory_order_relaxed) - kBefore;
  const int64_t number = since < 0 ? kPeriod : since % kPeriod;
  if (number > kTrial) return {.alone = alone_.load(std::memory_order_relaxed)};
  // Trials are so far apart that no two that could be confused have the same.
  const auto trial = static_cast<uint32_t>((call - number) / kTrial % (1 << (64 - Least::kTimeBits)));
  if (number == kTrial) {
    decide(trial);
    return {.alone = alone_.load(std::memory_order_relaxed)};
  }
  if (number == 0) {
    together_least_.begin(trial);
    alone_least_.begin(trial);
  }
  // The first call of a block finds values where calls of the other kind have left them.
  return {.alone = number / kBlock % 2 == 1 && is_worth_trying_alone(trial),
          .is_timed = number % kBlock != 0,
          .trial = trial};
}

void ThreadChoice::note(const Call& call, Clock::duration time) {
  if (call.is_timed) (call.alone ? alone_least_ : together_least_).note(call.trial, time);
}

void ThreadChoice::begin_anew(int threads, int64_t call) {
  first_.store(call, std::memory_order_relaxed);
  alone_.store(false, std::memory_order_relaxed);
  threads_.store(threads, std::memory_order_release);
}

// As long as it is known to cost little more than what it is compared to, or nothing is known: several callers at once
// are given their numbers before the first of them is done.
bool ThreadChoice::is_worth_trying_alone(uint32_t trial) const {
  const uint64_t alone = alone_least_.of(trial), together = together_least_.of(trial);
  if (together == Least::kNone) return true;
  return together < nanoseconds(kLong) && (alone == Least::kNone || 2 * alone <= 3 * together);
}

void ThreadChoice::decide(uint32_t trial) {
  const uint64_t alone = alone_least_.of(trial), together = together_least_.of(trial);
  alone_.store(together < nanoseconds(kLong) && alone < together, std::memory_order_relaxed);
}

}  // namespace thimble::nn
