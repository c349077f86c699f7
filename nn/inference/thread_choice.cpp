#include <thimble/nn/inference/thread_choice.h>

namespace thimble::nn {

ThreadChoice::Call ThreadChoice::next() {
  if (is_long_.load(std::memory_order_relaxed)) return {-1, false};
  const int64_t number = calls_.fetch_add(1, std::memory_order_relaxed) % kPeriod;
  if (number >= kTrial) return {number, alone_.load(std::memory_order_relaxed)};
  return {number, number / kBlock % 2 == 1};
}

void ThreadChoice::note(const Call& call, Clock::duration time) {
  if (call.number < 0 || call.number >= kTrial) return;
  // The first call of a block finds values where calls of the other kind have left them.
  if (call.number % kBlock == 0) return;
  std::atomic<Clock::rep>& least = least_[call.alone ? 1 : 0];
  if (time.count() < least.load(std::memory_order_relaxed)) least.store(time.count(), std::memory_order_relaxed);
  if (!call.alone && time > kLong) is_long_.store(true, std::memory_order_relaxed);
  if (call.number != kTrial - 1) return;
  alone_.store(least_[1].load(std::memory_order_relaxed) < least_[0].load(std::memory_order_relaxed),
               std::memory_order_relaxed);
  for (std::atomic<Clock::rep>& l : least_) l.store(std::numeric_limits<Clock::rep>::max(), std::memory_order_relaxed);
}

}  // namespace thimble::nn
