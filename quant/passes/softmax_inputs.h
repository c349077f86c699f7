// What softmax needs of what it reads, and masks that are added in front of it. Internal to quant.
//
// What lies far below the largest of a row is 0 in the result, so integers need not tell it from what lies farther:
// they saturate there, and a mask of minus infinity does what one of -20 does.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <utility>

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
nn::Node* only_softmax_behind(const nn::Graph& graph, const nn::Node* value);

/// How a node in front of a softmax masks its scores: it adds a constant, or chooses between them and a large negative
/// number, as masked_fill is spelled. The members are numbers of its inputs.
struct Masking {
  size_t scores, constant;  ///< the constant is the mask that is added, or the condition
  size_t fill = 0;          ///< the number; 0 where a mask is added, since the first input is none
};

/// Nothing for a node that does not mask what softmax alone reads, or whose constant no integers, or saturated ones,
/// can stand for: they make a line that is masked as a whole uniform. So are those of a `where`, but those of an
/// addition only if they hide_evenly() any scores.
std::optional<Masking> masking_of(const nn::Graph& graph, const nn::Node* node);

/// Whether the node would mask, were it not for lines that it masks as a whole.
bool adds_uneven_mask(const nn::Graph& graph, const nn::Node* node);

/// Whether scores from `low` to `high` leave no trace in lines along the axis that the mask hides as a whole: so large
/// a number, and the same for all elements, that floats round to it. Softmax of -10000 + scores is that of the scores.
/// A mask of fewer dimensions than the scores has the last axes; an axis that is counted from the front and lies behind
/// its dimensions is taken for the last.
bool hides_evenly(const Tensor& mask, int64_t axis, float low, float high);

/// Constants that are subtracted in front of a softmax, from nodes that `is_wanted` of, become negative ones that are
/// added, as masks are: the same floats.
void add_subtracted_constants(nn::Graph& graph, const std::function<bool(const nn::Node*)>& is_wanted);

/// What convert() puts in the place of nodes that mask, where they become integer ones: additions of constants in which
/// a finite number stands for what is far below all scores. Floats keep what they had.
class AddedMasks {
 public:
  explicit AddedMasks(nn::Graph& graph) : graph_(graph) {}
  /// Returns the addition, which has the node's name. Nodes with the same constant get the same mask.
  nn::Node* replace(nn::Node* node);

 private:
  nn::Graph& graph_;
  std::map<std::pair<const nn::Node*, size_t>, nn::Node*> masks_;  // of constants, and where the number was
};
/// Which input of such an addition the mask is.
size_t mask_of(const nn::Node* added);

/// The value that softmax along the axis reads as far as that can tell it from others: [...] to [...] of numbers from 0
/// downward, the largest of each line 0, cut where SoftmaxRange cuts.
Tensor as_softmax_sees(const Tensor& x, int64_t axis);

/// The least and the largest number that integers of these parameters stand for.
float low_end(const TensorQParams& p);
float high_end(const TensorQParams& p);
/// Parameters for scores that nobody else reads, without what is below the sum's range whatever the mask.
TensorQParams needed_scores(const TensorQParams& scores, const Tensor& mask, const TensorQParams& sum);
/// The least number that a mask needs: added to any of the scores, it is at or below the low end of the sum's range.
double least_of_mask(const TensorQParams& scores, const TensorQParams& sum);
/// Parameters for a mask, or another constant, whose numbers beyond these may saturate there.
TensorQParams qparams_within(const Tensor& constant, double least, double most, int bits);

}  // namespace thimble::quant
