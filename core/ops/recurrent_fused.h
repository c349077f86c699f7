// lstm(), gru() and rnn() of the usual gates, by kernels. Internal to core.
#pragma once

#include <thimble/core/kernels/recurrent/recurrent.h>
#include <thimble/core/ndarray.h>
#include <thimble/core/ops/recurrent.h>

namespace thimble {

/// Operands by name, as recurrent.h says, of sizes that fit; undefined for those that are not given. Or their
/// gradients.
struct RecurrentArrays {
  NDArray x = {}, ih = {}, hh = {}, bias_ih = {}, bias_hh = {}, lengths = {}, h0 = {}, c0 = {};
};

/// One application: what compute() keeps, the gradient reads.
class FusedRecurrent {
 public:
  FusedRecurrent(kernels::CellKind kind, Direction direction) : kind_(kind), direction_(direction) {}

  /// [steps + 1 or 2, D, n, hidden]
  NDArray compute(const RecurrentArrays& operands, bool keep);
  /// Of the operands that are given, and h0 and c0, but for lengths, and for x if nobody wants it. Computes again what
  /// was not kept.
  RecurrentArrays gradient(const RecurrentArrays& operands, const NDArray& out_grad, bool wants_x);

 private:
  template <typename T>
  NDArray compute_as(const RecurrentArrays& operands, bool keep);
  template <typename T>
  RecurrentArrays gradient_as(const RecurrentArrays& operands, const NDArray& out_grad, bool wants_x) const;
  template <typename T>
  void run_backward(const RecurrentArrays& operands, const NDArray& out_grad, const NDArray& d_gates,
                    const NDArray& d_h_part, const RecurrentArrays& grads) const;
  template <typename T>
  kernels::RecurrentKept<T> kept_of(int64_t d) const;
  bool is_reverse(int64_t d) const { return direction_ == Direction::reverse || d == 1; }

  kernels::CellKind kind_;
  Direction direction_;
  NDArray gates_, kept_, h_before_;  // [D, steps, n, ...]
};

}  // namespace thimble
