// concat(): rows of each input side by side.
#include <algorithm>
#include <cstring>
#include <vector>

#include <thimble/core/parallel.h>
#include <thimble/core/shape.h>
#include <thimble/nn/inference/inference.h>

namespace thimble::nn {

namespace {

constexpr int64_t kGrainBytes = 128 * 1024;  // worth another thread

class ConcatStep : public InferenceStep {
 public:
  // `axis` is that of samples if it is 0. In memory there are `rows` of what is joined; each input's part of one has so
  // many bytes.
  ConcatStep(ValueInfo output, int axis, int64_t rows, std::vector<int64_t> bytes)
      : InferenceStep(std::move(output)), axis_(axis), rows_(rows), bytes_(std::move(bytes)) {
    for (const int64_t part : bytes_) row_bytes_ += part;
  }

  bool is_per_sample() const override { return axis_ != 0; }

  void run(std::span<const void* const> inputs, void* output, uint8_t*) const override {
    parallel_for(rows_, std::max<int64_t>(1, kGrainBytes / row_bytes_), [&](int64_t begin, int64_t end) {
      auto* to = static_cast<char*>(output);
      for (size_t i = 0; i < inputs.size(); ++i, to += bytes_[i - 1]) {
        const auto* from = static_cast<const char*>(inputs[i]);
        for (int64_t row = begin; row < end; ++row)
          std::memcpy(to + row * row_bytes_, from + row * bytes_[i], static_cast<size_t>(bytes_[i]));
      }
    });
  }

 private:
  int axis_;
  int64_t rows_, row_bytes_ = 0;
  std::vector<int64_t> bytes_;
};

// Sizes in the order of memory, and where the axis is among them.
Shape in_memory(const Shape& s) { return s.ndim() == 4 ? Shape{s[0], s[2], s[3], s[1]} : s; }
int in_memory(int axis, int ndim) { return ndim != 4 || axis == 0 ? axis : axis == 1 ? 3 : axis - 1; }

std::unique_ptr<InferenceStep> concat_step(const Attributes& attributes, std::span<const ValueInfo> inputs) {
  const int ndim = inputs[0].shape.ndim(), axis = normalize_axis(attributes.get<int64_t>("axis", 0), ndim, "concat");
  ValueInfo output = inputs[0].as_usual();
  output.shape[axis] = 0;
  const int place = in_memory(axis, ndim);
  int64_t rows = 1;
  for (int i = 0; i < place; ++i) rows *= in_memory(inputs[0].shape)[i];
  std::vector<int64_t> bytes;
  for (const ValueInfo& x : inputs) {
    Shape expected = inputs[0].shape;
    if (x.shape.ndim() == ndim) expected[axis] = x.shape[axis];
    if (!x.lies_as_usual() || x.dtype != output.dtype || x.shape != expected || x.shape.numel() == 0) return nullptr;
    output.shape[axis] += x.shape[axis];
    bytes.push_back(x.nbytes() / rows);
  }
  return std::make_unique<ConcatStep>(output, axis, rows, std::move(bytes));
}

const StepRegistration concat_registration("concat", concat_step);

}  // namespace

}  // namespace thimble::nn
