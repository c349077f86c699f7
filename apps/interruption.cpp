#include "apps/interruption.h"

#include <atomic>
#include <cstdint>
#include <ctime>

namespace thimble::apps {

namespace {

// Lock-free atomics are all that a signal handler may share.
std::atomic<int> received = 0;
std::atomic<int64_t> received_at = 0;  // in nanoseconds; 0: nothing has been received
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<int64_t>::is_always_lock_free);
constexpr int64_t kPatience = 1'000'000'000;

int64_t now() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

struct Noted {
  int signal;
  const char* name;
};
constexpr std::array kNoted{Noted{SIGHUP, "SIGHUP"}, Noted{SIGINT, "SIGINT"}, Noted{SIGTERM, "SIGTERM"}};

void note(int signal) {
  const int64_t time = now();
  int64_t first = 0;
  if (received_at.compare_exchange_strong(first, time)) {
    received = signal;
    return;
  }
  if (signal != SIGINT || time - first < kPatience) return;
  // As if nobody had listened.
  struct sigaction by_default {};
  by_default.sa_handler = SIG_DFL;
  ::sigaction(signal, &by_default, nullptr);
  sigset_t blocked;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, signal);
  ::pthread_sigmask(SIG_UNBLOCK, &blocked, nullptr);
  ::raise(signal);
}

}  // namespace

Interruption::Interruption() {
  received = 0;
  received_at = 0;
  struct sigaction action {};
  action.sa_handler = note;
  action.sa_flags = SA_RESTART;  // reads and writes that it comes in between go on
  for (size_t i = 0; i < kNoted.size(); ++i) {
    ::sigaction(kNoted[i].signal, nullptr, &old_[i]);
    if (old_[i].sa_handler != SIG_IGN) ::sigaction(kNoted[i].signal, &action, nullptr);
  }
}

Interruption::~Interruption() {
  for (size_t i = 0; i < kNoted.size(); ++i) ::sigaction(kNoted[i].signal, &old_[i], nullptr);
}

int Interruption::signal() const { return received; }

std::string Interruption::name(int signal) {
  for (const Noted& noted : kNoted)
    if (noted.signal == signal) return noted.name;
  return "signal " + std::to_string(signal);
}

}  // namespace thimble::apps
