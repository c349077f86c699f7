// The autograd graph's node. Internal to core: users see Tensor.
#pragma once

#include <thimble/core/tensor.h>

namespace thimble {

struct Tensor::Node {
  Node() = default;
  ~Node();

  NDArray data;
  std::unique_ptr<Op> op;
  std::vector<Tensor> inputs;
  Tensor grad;
  Tensor next_orphan;  // while a chain of nodes is freed
  uint64_t version = 0;
  bool requires_grad = false;
  bool freed = false;  // op and inputs were dropped by a backward pass
};

}  // namespace thimble
