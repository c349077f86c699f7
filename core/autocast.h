// Mixed precision: while an Autocast lives, matrix products and convolutions multiply in bfloat16.
//
//   const Autocast guard(DType::bfloat16);
//   Tensor loss = cross_entropy(net(images), labels);   // parameters stay float32, and so do the losses
//
// Products are summed in float32, and give bfloat16. What keeps up with them in bfloat16 goes on with it: activations,
// sums, pooling, batch normalization, dropout, moving elements. All else (softmax, losses, layer normalization,
// reductions, exp and its like) gets its inputs converted to float32 first. Parameters remain float32, are rounded as
// they are read, and get float32 gradients. backward() may be called inside or outside of the scope.
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/dtype.h>

namespace thimble {

/// What products are computed in on this thread: bfloat16 inside of a scope, else float32.
THIMBLE_API DType autocast_dtype();

/// While it lives, ops on this thread are applied in mixed precision (bfloat16), or not (float32). Scopes nest. What is
/// float64 stays so.
class THIMBLE_API Autocast {
 public:
  /// Throws ValueError for another dtype than bfloat16 and float32.
  explicit Autocast(DType dtype);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  DType before_;
};

}  // namespace thimble
