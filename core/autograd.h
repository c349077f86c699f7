// The autograd graph's node, and what an op gets in mixed precision. Internal to core: users see Tensor.
#pragma once

#include <thimble/core/tensor.h>

namespace thimble {

/// The inputs of an op as its rule wants them inside of an Autocast scope of bfloat16.
std::vector<Tensor> autocast_inputs(AutocastRule rule, std::vector<Tensor> inputs);

struct Tensor::Node {
  Node() = default;
  ~Node();

  NDArray data;
  std::unique_ptr<Op> op;
  std::vector<Tensor> inputs;
  Tensor grad;
  uint64_t changed_at = 0;  // by mutable_data() or set_data(); the array may have been changed elsewhere, see version()
  uint64_t recorded_at = 0;  // the last_change() when the op was applied: what it saw is no later
  ReadListener* listener = nullptr;
  Tensor next_orphan;  // while a chain of nodes is freed
  bool requires_grad = false;
  bool freed = false;         // op and inputs were dropped by a backward pass
  bool grad_is_ours = false;  // backward() made its array, and may add to it
};

}  // namespace thimble
