// The twin of the PyTorch model in state_dict.py. Members have the same names, so that the state_dict() loads.
#pragma once

#include <thimble/thimble.h>

namespace from_pytorch {

using namespace thimble;

struct Net : nn::Module {
  nn::Submodule<nn::Sequential> stem{this, "stem", nn::Conv2d(3, 8, 3, {.padding = 1, .bias = false}),
                                     nn::BatchNorm2d(8), nn::ReLU()};
  nn::Submodule<nn::Conv2d> down{this, "down", 8, 8, 3, {.stride = 2, .padding = 1, .groups = 2}};
  nn::Submodule<nn::GroupNorm> norm{this, "norm", 2, 8};
  nn::Submodule<nn::ConvTranspose2d> up{this, "up", 8, 8, 2, {.stride = 2}};
  nn::Submodule<nn::Sequential> head{this,
                                     "head",
                                     nn::AvgPool2d(4),
                                     nn::Flatten(),
                                     nn::Linear(32, 16),
                                     nn::BatchNorm1d(16),
                                     nn::LayerNorm({16}),
                                     nn::Linear(16, 5)};

  Tensor forward(const Tensor& x) override {
    const Tensor h = stem(x);
    return head(h + up(relu(norm(down(h)))));
  }
};

}  // namespace from_pytorch
