// Ending when asked to, but not in the middle of something.
#pragma once

#include <array>
#include <csignal>
#include <string>

#include <thimble/core/error.h>

namespace thimble::apps {

/// As long as it lives, the first SIGHUP (the terminal has gone), SIGINT or SIGTERM is only noted. Others that follow
/// change nothing, for one reason to end often brings several (a shell and the kernel both say that the terminal has
/// gone), except a SIGINT a second later or more, of somebody who does not want to wait: it ends the program at once.
/// Signals that the program was started to ignore, as by nohup, are ignored.
class Interruption {
 public:
  Interruption();
  ~Interruption();
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

  /// The signal that came; 0 if none did.
  int signal() const;

  /// "SIGINT".
  static std::string name(int signal);

 private:
  std::array<struct sigaction, 3> old_{};
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
