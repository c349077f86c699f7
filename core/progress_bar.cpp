#include <algorithm>
#include <iostream>

#include <unistd.h>

#include <thimble/core/error.h>
#include <thimble/core/platform/terminal.h>
#include <thimble/core/progress_bar.h>
#include <thimble/core/text.h>
#include <thimble/core/text_numbers.h>
#include <thimble/core/text_wrap.h>

namespace thimble {

namespace {

std::string minutes(double seconds) {
  const auto s = static_cast<int64_t>(seconds + 0.5);
  const std::string rest = std::to_string(s % 60);
  return std::to_string(s / 60) + (rest.size() < 2 ? ":0" : ":") + rest;
}

// The figures that fit, most important first; two blanks separate them.
std::string fitting(const std::string& figures, size_t width) {
  std::string text = figures;
  while (detail::text_width(text) > width) {
    const size_t gap = text.rfind("  ");
    if (gap == std::string::npos) return detail::wrapped(text, width).front();
    text.resize(gap);
  }
  return text;
}

}  // namespace

std::string detail::progress_line(const std::string& title, double part, const std::string& figures, size_t width) {
  constexpr size_t kMostCells = 24, kFewestCells = 4;
  const std::string text = str(detail::fixed(100 * part, 0), "%  ", figures);
  const size_t taken = detail::text_width(title) + detail::text_width(text) + 4;  // " [" and "] "
  if (taken + kFewestCells > width) return fitting(title + ' ' + text, width);
  const size_t cells = std::min(kMostCells, width - taken),
               full = static_cast<size_t>(part * static_cast<double>(cells));
  return str(title, " [", std::string(full, '#'), std::string(cells - full, '.'), "] ", text);
}

ProgressBar::ProgressBar(std::string title, int64_t total)
    : title_(std::move(title)), total_(std::max<int64_t>(total, 1)), visible_(isatty(STDERR_FILENO) == 1) {}

void ProgressBar::update(int64_t done, const std::string& text) {
  constexpr std::chrono::milliseconds kInterval{100};
  const auto now = Clock::now();
  if (!visible_ || (now - last_ < kInterval && done < total_)) return;
  last_ = now;
  const double part = std::min(1.0, static_cast<double>(done) / static_cast<double>(total_));
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const std::string left = part > 0 ? minutes(elapsed * (1 - part) / part) + " left  " : "";
  // A line that wraps could not be drawn over.
  const std::string line =
      detail::progress_line(title_, part, left + detail::printable(text), detail::terminal_width(STDERR_FILENO) - 1);
  std::cerr << "\r\x1b[K" << line << std::flush;
  drawn_ = true;
}

void ProgressBar::finish() {
  if (drawn_) std::cerr << "\r\x1b[K" << std::flush;
  drawn_ = false;
}

}  // namespace thimble
