// A value that was computed without recording, and is recorded all the same. Internal.
#pragma once

#include <functional>
#include <vector>

#include <thimble/core/tensor.h>

namespace thimble::nn {

/// `value` as a function of `inputs`, of which one requires gradients. backward() through it calls again(), which
/// computes the value once more, recording, and goes on through that: as exact as if it had been recorded before, and
/// an error, as always, if an input was changed since.
Tensor recomputed_in_backward(const NDArray& value, std::vector<Tensor> inputs, std::function<Tensor()> again);

}  // namespace thimble::nn
