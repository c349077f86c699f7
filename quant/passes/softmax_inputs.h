// What softmax needs of what it reads, and masks that are added in front of it. Internal to quant.
//
// What lies far below the largest of a row is 0 in the result, so integers need not tell it from what lies farther:
// they saturate there, and a mask of minus infinity does what one of -20 does.
#pragma once

#include <thimble/nn/graph/graph.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::quant {

/// In a prepared graph, in front of the observer of a value that softmax alone reads: hands the value on, but what is
/// too far below the largest along the axis to leave a trace in 8 bits, all of it together, becomes as large as needed
/// for that. Lines that are masked as a whole become 0: softmax gives the same for each of their elements, as with
/// masks of large numbers.
class SoftmaxRange : public nn::Module {
 public:
  explicit SoftmaxRange(int64_t axis) : axis_(axis) {}
  /// Throws ShapeError if x does not have the axis.
  Tensor forward(const Tensor& x) override;
  std::string type() const override { return "SoftmaxRange"; }
  Attributes attributes() const override { return {{"axis", axis_}}; }

 private:
  int64_t axis_;
};

/// The softmax that is the only reader of the value; null if there are others, or it is an output.
const nn::Node* only_softmax_behind(const nn::Graph& graph, const nn::Node* value);

/// where(constant, scores, a large negative number), as masked_fill is spelled, in front of a softmax becomes an
/// addition of a constant, of which softmax makes the same.
void add_masks(nn::Graph& graph);

/// Whether the node adds a constant to what softmax alone reads.
bool is_masking(const nn::Graph& graph, const nn::Node* node);
/// Which input of such a node the constant is.
size_t mask_of(const nn::Node* node);

/// Whether the constant is of numbers that integers, or saturated ones, can stand for in front of softmax.
bool can_be_mask(const Tensor& constant);
/// With a finite number in place of what is far below all scores.
Tensor finite_mask(const Tensor& constant);
/// Whether it has such.
bool masks_out(const Tensor& constant);

/// Parameters for scores that nobody else reads, without what is below the sum's range whatever the mask.
TensorQParams needed_scores(const TensorQParams& scores, const Tensor& mask, const TensorQParams& sum);
/// The least number that a mask needs: added to any of the scores, it is at or below the low end of the sum's range.
double least_of_mask(const TensorQParams& scores, const TensorQParams& sum);
/// Parameters for a mask whose numbers below `least` may saturate there.
TensorQParams mask_qparams(const Tensor& mask, double least, int bits);

}  // namespace thimble::quant
