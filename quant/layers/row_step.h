// Steps that work on rows of uint8. Internal.
#pragma once

#include <thimble/nn/inference/inference.h>

namespace thimble::quant {

/// Rows are the elements along some dimensions that follow each other. Where they lie dense, in a view, too, they are
/// worked on where they are; else in a copy.
class RowStep : public nn::InferenceStep {
 public:
  /// Rows run along the dimensions [first, last) of x, which is no flattened image.
  RowStep(const nn::ValueInfo& x, int first, int last);

  int64_t scratch_bytes() const override { return in_place_ ? 0 : 2 * output().nbytes(); }
  bool is_per_sample() const override { return first_ > 0; }
  void run(std::span<const void* const> inputs, void* out, uint8_t* scratch) const final;

 private:
  /// `rows` dense rows of `length`, one behind the other.
  virtual void run_rows(const uint8_t* x, int64_t rows, int64_t length, uint8_t* out) const = 0;

  nn::ValueInfo input_;
  int first_;
  int64_t length_;
  Shape order_;  // of dimensions, a row's last
  bool in_place_;
};

}  // namespace thimble::quant
