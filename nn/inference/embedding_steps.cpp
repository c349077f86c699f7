#include <optional>
#include <utility>

#include <thimble/nn/inference/embedding_steps.h>

namespace thimble::nn {

namespace {

bool is_index(const ValueInfo& x) {
  return (x.dtype == DType::int64 || x.dtype == DType::int32) && x.lies_as_usual() && !x.is_image();
}

// Nothing is converted, nothing allocated: rows are bags of one entry each.
class EmbeddingStep : public InferenceStep {
 public:
  EmbeddingStep(ValueInfo output, const ValueInfo& index, ReadRows read)
      : InferenceStep(std::move(output)), index_(index), read_(std::move(read)) {
    index_.shape = {index.shape.numel(), 1};
    rows_.shape = {index_.shape[0], this->output().shape.back()};
  }

  bool is_per_sample() const override { return !index_.is_constant; }

  void run(std::span<const void* const> inputs, void* output, uint8_t*) const override {
    NDArray rows = array_over(output, rows_);
    read_(array_over(inputs[0], index_), rows);
  }

 private:
  ValueInfo index_, rows_;
  ReadRows read_;
};

class EmbeddingBagStep : public InferenceStep {
 public:
  EmbeddingBagStep(ValueInfo output, std::span<const ValueInfo> inputs, ReadBags read)
      : InferenceStep(std::move(output)), index_(inputs[0]), read_(std::move(read)) {
    for (const ValueInfo& input : inputs.subspan(1)) (is_index(input) ? offsets_ : scales_) = input;
  }

  // Offsets number the entries of the whole batch.
  bool is_per_sample() const override { return !offsets_ && !index_.is_constant && !(scales_ && scales_->is_constant); }

  void run(std::span<const void* const> inputs, void* output, uint8_t*) const override {
    NDArray bags = array_over(output, this->output());
    const NDArray offsets = offsets_ ? array_over(inputs[1], *offsets_) : NDArray();
    const NDArray scales = scales_ ? array_over(inputs.back(), *scales_) : NDArray();
    read_(array_over(inputs[0], index_), offsets, scales, bags);
  }

 private:
  ValueInfo index_;
  std::optional<ValueInfo> offsets_, scales_;
  ReadBags read_;
};

}  // namespace

std::unique_ptr<InferenceStep> embedding_step(std::span<const ValueInfo> inputs, int64_t columns, ReadRows read) {
  if (inputs.size() != 1 || !is_index(inputs[0])) return nullptr;
  Shape shape = inputs[0].shape;
  shape.push_back(columns);
  if (shape.ndim() == 4) return nullptr;  // which lies channels-last
  return std::make_unique<EmbeddingStep>(ValueInfo{shape}, inputs[0], std::move(read));
}

std::unique_ptr<InferenceStep> embedding_bag_step(std::span<const ValueInfo> inputs, int64_t columns, BagMode mode,
                                                  ReadBags read) {
  const bool has_scales = inputs.size() > 1 && inputs.back().dtype == DType::float32;
  const size_t integers = inputs.size() - has_scales;
  bool fits = (integers == 1 || integers == 2) && inputs.back().lies_as_usual();
  for (const ValueInfo& x : inputs.first(integers)) fits = fits && is_index(x) && x.dtype == inputs[0].dtype;
  const Shape& index = fits ? inputs[0].shape : Shape();
  fits = fits && index.ndim() == (integers == 1 ? 2 : 1);
  if (has_scales) fits = fits && mode == BagMode::sum && inputs.back().shape == index;
  if (integers == 2) fits = fits && inputs[1].shape.ndim() == 1 && inputs[1].shape[0] > 0;
  if (!fits) return nullptr;
  const int64_t bags = integers == 2 ? inputs[1].shape[0] : index[0];
  return std::make_unique<EmbeddingBagStep>(ValueInfo{{bags, columns}}, inputs, std::move(read));
}

BagInputs BagInputs::from(const std::string& type, std::span<const Tensor> inputs) {
  check<ValueError>(!inputs.empty() && inputs.size() <= 3, type, ": expects an index, offsets and weights, got ",
                    inputs.size(), " inputs");
  for (const Tensor& x : inputs) check<ValueError>(x.defined(), type, ": an input is undefined; leave it out");
  const bool has_weights = inputs.size() > 1 && is_floating_point(inputs.back().dtype());
  const bool has_offsets = inputs.size() > 1 + size_t{has_weights};
  check<DTypeError>(inputs.size() < 3 || has_weights, type, ": per_sample_weights are ", inputs.back().dtype(),
                    ", expected floats");
  return {inputs[0], has_offsets ? inputs[1] : Tensor(), has_weights ? inputs.back() : Tensor()};
}

}  // namespace thimble::nn
