// Moving averages of weights, which often do better than the weights themselves.
//
//   optim::ExponentialMovingAverage ema(net.parameters(), {.decay = 0.999});
//   adam.step(); ema.update();                       // after each step
//   { const optim::AveragedWeights guard(ema); accuracy(net, train); }
#pragma once

#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>
#include <thimble/nn/compiler_messages.h>

namespace thimble::optim {

/// Options of ExponentialMovingAverage.
struct THIMBLE_API MovingAverageOptions {
  /// What an average keeps of itself at an update.
  double decay = 0.999;
};

/// average = decay * average + (1 - decay) * parameter, after each step; the first update() takes the parameters as
/// they are, as PyTorch's AveragedModel does. Parameters are float32. Buffers (batch normalization's statistics) are no
/// part of it.
class THIMBLE_API ExponentialMovingAverage {
 public:
  /// Throws ValueError for no parameters, one given twice or a decay not in [0, 1), DTypeError for other than float32.
  explicit ExponentialMovingAverage(const std::vector<Tensor>& parameters, MovingAverageOptions options = {});
  template <typename Slip = thimble::detail::NotAnOptionOf<MovingAverageOptions>>
  explicit ExponentialMovingAverage(const std::vector<Tensor>& parameters, ...) = delete;
  ExponentialMovingAverage(const ExponentialMovingAverage&) = delete;
  ExponentialMovingAverage& operator=(const ExponentialMovingAverage&) = delete;

  /// To be called after the optimizer's step. Throws ValueError while the weights are swapped.
  void update();
  int64_t num_updates() const { return num_updates_; }

  /// Puts the averages in the parameters' place and keeps those; called again, puts them back. Training goes on after
  /// that. See AveragedWeights.
  void swap();
  bool is_swapped() const { return is_swapped_; }

  /// "num_updates" (int64 []) and the averages, "0", "1", ... in the order of the parameters: for a file beside the
  /// training state, such as save_safetensors() writes. They share memory with this; swapped or not.
  NamedArrays state() const;
  /// Copies state() of another run. Throws ValueError for other names or a number of updates below 0, ShapeError or
  /// DTypeError for an array that does not fit, ValueError while the weights are swapped; nothing is changed then.
  void load_state(const NamedArrays& arrays);

 private:
  std::vector<Tensor> parameters_;
  std::vector<Tensor> averages_;  // while swapped, the parameters' own values
  std::vector<NDArray> current_;  // of an update; kept, so that the next one needs no memory
  double decay_;
  int64_t num_updates_ = 0;
  bool is_swapped_ = false;
};

/// While it lives, the parameters are their averages.
class THIMBLE_API AveragedWeights {
 public:
  /// Throws ValueError if they are already.
  explicit AveragedWeights(ExponentialMovingAverage& average);
  ~AveragedWeights() { average_.swap(); }
  AveragedWeights(const AveragedWeights&) = delete;
  AveragedWeights& operator=(const AveragedWeights&) = delete;

 private:
  ExponentialMovingAverage& average_;
};

}  // namespace thimble::optim
