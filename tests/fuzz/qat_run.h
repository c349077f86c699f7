// Training with observers: a state with counts and ranges that later steps compute with.
#pragma once

#include <thimble/core/ops.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/training/optim/optimizer.h>
#include <thimble/quant/qat/qat.h>

namespace thimble::fuzz {

struct QatRun {
  void step() {
    const Tensor loss = sum(net(Tensor(randn({2, 4}, default_generator()))));
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
  }

  static nn::Graph prepared() {
    manual_seed(7);
    nn::Sequential mlp(nn::Linear(4, 3), nn::ReLU(), nn::Linear(3, 2));
    nn::Graph graph = nn::trace(mlp.eval(), Tensor(randn({2, 4}, default_generator())));
    graph = quant::prepare_qat(graph, quant::QConfigMapping::static_int8());
    graph.train();
    return graph;
  }

  nn::Graph net = prepared();
  optim::SGD optimizer{net.parameters(), {.momentum = 0.9}};
};

}  // namespace thimble::fuzz
