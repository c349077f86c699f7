// Which taps of a depthwise kernel an output sees along one axis of an image, and which outputs see the same.
#pragma once

#include <cstdint>
#include <vector>

namespace thimble::kernels {

/// `count` outputs, `step` apart, that see the same taps: `taps` of them, from number `tap` on, each `tap_step` behind
/// the one before. Where the first output's first tap lies in the input, and how far the next output's and the next
/// tap's are from it.
struct AxisRun {
  int64_t out, count = 1, step;
  int64_t taps = 0, tap = 0, tap_step = 0;
  int64_t in = 0, in_step = 0, in_tap_step = 0;

  bool sees_as(const AxisRun& o) const {
    return step == o.step && out % step == o.out % step && taps == o.taps && tap == o.tap && tap_step == o.tap_step;
  }
};

/// One axis of a convolution.
struct ConvAxis {
  int64_t in, out, taps, stride, dilation, padding;

  /// What an output sees.
  AxisRun forward(int64_t at) const {
    AxisRun run{.out = at, .step = 1};
    for (int64_t k = 0; k < taps; ++k) add(run, k, at * stride - padding + k * dilation, in);
    return run;
  }
  /// Which outputs see an input: what its gradient is summed over. Every stride-th input is seen by the same taps.
  AxisRun backward(int64_t at) const {
    AxisRun run{.out = at, .step = stride};
    for (int64_t k = taps - 1; k >= 0; --k)
      if (const int64_t distance = at + padding - k * dilation; distance % stride == 0)
        add(run, k, distance / stride, out);
    return run;
  }

 private:
  static void add(AxisRun& run, int64_t tap, int64_t in, int64_t size) {
    if (in < 0 || in >= size) return;
    if (run.taps == 0) run.tap = tap, run.in = in;
    if (run.taps == 1) run.tap_step = tap - run.tap, run.in_tap_step = in - run.in;
    ++run.taps;
  }
};

/// Those of outputs [0, size), where run_of(output) says what one sees.
template <typename RunOf>
std::vector<AxisRun> axis_runs(int64_t size, int64_t step, RunOf&& run_of) {
  std::vector<AxisRun> runs;
  for (int64_t phase = 0; phase < step; ++phase)
    for (int64_t at = phase; at < size; at += step) {
      const AxisRun run = run_of(at);
      if (runs.empty() || !runs.back().sees_as(run)) {
        runs.push_back(run);
        continue;
      }
      AxisRun& last = runs.back();
      if (last.count == 1) last.in_step = run.in - last.in;
      ++last.count;
    }
  return runs;
}

}  // namespace thimble::kernels
