#include "apps/progress_bar.h"

#include <algorithm>
#include <iostream>

#include <sys/ioctl.h>
#include <unistd.h>

#include "apps/numbers.h"
#include <thimble/core/error.h>
#include <thimble/core/text.h>

namespace thimble::apps {

namespace {

size_t terminal_width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string minutes(double seconds) {
  const auto s = static_cast<int64_t>(seconds + 0.5);
  const std::string rest = std::to_string(s % 60);
  return std::to_string(s / 60) + (rest.size() < 2 ? ":0" : ":") + rest;
}

}  // namespace

ProgressBar::ProgressBar(std::string title, int64_t total)
    : title_(std::move(title)), total_(std::max<int64_t>(total, 1)), visible_(isatty(STDERR_FILENO) == 1) {}

void ProgressBar::update(int64_t done, const std::string& text) {
  constexpr std::chrono::milliseconds kInterval{100};
  const auto now = Clock::now();
  if (!visible_ || (now - last_ < kInterval && done < total_)) return;
  last_ = now;
  const double part = std::min(1.0, static_cast<double>(done) / static_cast<double>(total_));
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const std::string left = part > 0 ? str("  ", minutes(elapsed * (1 - part) / part), " left") : "";
  constexpr int kCells = 24;
  const int full = static_cast<int>(part * kCells);
  std::string line = str(title_, " [", std::string(static_cast<size_t>(full), '#'),
                         std::string(static_cast<size_t>(kCells - full), '.'), "] ", fixed(100 * part, 0), "%  ",
                         detail::printable(text), left);
  // A line that wraps could not be drawn over.
  line.resize(std::min(line.size(), terminal_width() - 1));
  std::cerr << "\r\x1b[K" << line << std::flush;
  drawn_ = true;
}

void ProgressBar::finish() {
  if (drawn_) std::cerr << "\r\x1b[K" << std::flush;
  drawn_ = false;
}

}  // namespace thimble::apps
