#include "apps/interruption.h"

#include <atomic>

namespace thimble::apps {

namespace {

std::atomic<int> received = 0;
static_assert(std::atomic<int>::is_always_lock_free);  // all that a signal handler may use

struct Noted {
  int signal;
  const char* name;
};
constexpr std::array kNoted{Noted{SIGHUP, "SIGHUP"}, Noted{SIGINT, "SIGINT"}, Noted{SIGTERM, "SIGTERM"}};

void note(int signal) {
  if (received.exchange(signal) == 0) return;
  // The second, perhaps in another thread before the first is through: as if nobody had listened.
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
