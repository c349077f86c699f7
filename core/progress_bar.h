// A progress bar on a terminal; nothing in a pipe.
//
//   ProgressBar bar("reading", 100);
//   for (int i = 0; i < 100; ++i) bar.update(i + 1, str("file ", i));
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include <thimble/core/api.h>

namespace thimble {

/// Draws to standard error if that is a terminal.
class THIMBLE_API ProgressBar {
 public:
  ProgressBar(std::string title, int64_t total);
  ~ProgressBar() { finish(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  bool visible() const { return visible_; }
  /// Draws the state at `done` of total with some text behind it; at most ten times a second.
  void update(int64_t done, const std::string& text);
  /// Removes the bar.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;

  std::string title_;
  int64_t total_;
  bool visible_;
  bool drawn_ = false;
  Clock::time_point start_ = Clock::now(), last_{};
};

namespace detail {

/// "epoch 1/2 [###...] 50%  0:07 left  loss 0.1234" in at most `width` characters: the bar becomes shorter and then
/// goes before figures do, and those the last ones first. Two blanks separate figures; part is 0 to 1.
THIMBLE_API std::string progress_line(const std::string& title, double part, const std::string& figures, size_t width);

}  // namespace detail

}  // namespace thimble
