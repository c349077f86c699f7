// Ending when asked to, but not in the middle of something.
#pragma once

#include <csignal>
#include <string>

#include <thimble/core/error.h>

namespace thimble::apps {

/// As long as it lives, the first SIGINT or SIGTERM is only noted; a second one ends the program at once. Signals that
/// the program was started to ignore are ignored.
class Interruption {
 public:
  Interruption();
  ~Interruption();
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

  /// The signal that came; 0 if none did.
  int signal() const;

 private:
  struct sigaction old_interrupt_ {
  }, old_terminate_{};
};

/// Thrown where work ends because of a signal. The program's status is then 128 + signal, as shells have it.
class Interrupted : public Error {
 public:
  Interrupted(int signal, const std::string& message) : Error(message), signal_(signal) {}
  int status() const { return 128 + signal_; }

 private:
  int signal_;
};

}  // namespace thimble::apps
