// A small training run, to save and go on with.
#pragma once

#include <cstdint>
#include <vector>

#include <thimble/core/ops/loss.h>
#include <thimble/core/random.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/batch_norm.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/dropout.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/training/optim/optimizer.h>
#include <thimble/serialization/training_state.h>

namespace thimble {

// A network whose next step depends on all that a state holds: parameters, running statistics, moments, and the
// generator, by dropout and by its data.
struct SmallTrainingRun {
  SmallTrainingRun() { manual_seed(7); }

  double step() {
    const Tensor x = randn({8, 6}, default_generator());
    const Tensor labels = NDArray::from_vector(std::vector<int64_t>{0, 1, 2, 0, 1, 2, 0, 1});
    const Tensor loss = cross_entropy(net(x), labels);
    optimizer.zero_grad();
    loss.backward();
    optimizer.set_lr(optimizer.lr() * 0.9);
    optimizer.step();
    return loss.item<double>();
  }
  std::vector<double> steps(int n) {
    std::vector<double> losses;
    for (int i = 0; i < n; ++i) losses.push_back(step());
    return losses;
  }
  TrainingState state(const Attributes& progress = {}) {
    return capture(net, optimizer, default_generator(), progress);
  }
  void restore(const TrainingState& state) { thimble::restore(state, net, optimizer, default_generator()); }

  nn::Sequential net{nn::Linear(6, 12), nn::BatchNorm1d(12), nn::ReLU(), nn::Dropout(0.3), nn::Linear(12, 3)};
  optim::AdamW optimizer{net.parameters()};
};

}  // namespace thimble
