#include "apps/interruption.h"

#include <atomic>

namespace thimble::apps {

namespace {

std::atomic<int> received = 0;
static_assert(std::atomic<int>::is_always_lock_free);  // all that a signal handler may use

void note(int signal) { received = signal; }

void install(int signal, struct sigaction& old) {
  struct sigaction action {};
  action.sa_handler = note;
  // Back to the default with the first signal. Reads and writes that it comes in between go on.
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  ::sigaction(signal, nullptr, &old);
  if (old.sa_handler != SIG_IGN) ::sigaction(signal, &action, nullptr);
}

}  // namespace

Interruption::Interruption() {
  received = 0;
  install(SIGINT, old_interrupt_);
  install(SIGTERM, old_terminate_);
}

Interruption::~Interruption() {
  ::sigaction(SIGINT, &old_interrupt_, nullptr);
  ::sigaction(SIGTERM, &old_terminate_, nullptr);
}

int Interruption::signal() const { return received; }

}  // namespace thimble::apps
