// concat(): rows of each input side by side. Channels of an image, say, may be some of another's.
#include <algorithm>
#include <optional>
#include <vector>

#include <thimble/core/kernels/elementwise/copy_rows.h>
#include <thimble/core/parallel.h>
#include <thimble/core/shape.h>
#include <thimble/nn/inference/inference.h>
#include <thimble/nn/inference/view_steps.h>

namespace thimble::nn {

namespace {

constexpr int64_t kGrainBytes = 8 * 1024;  // worth another thread

class ConcatStep : public InferenceStep {
 public:
  // An input's part of each row, and where it lies, in bytes.
  struct Part {
    int64_t bytes, offset, step;
  };

  // `axis` is that of samples if it is 0. In memory there are `rows` of what is joined.
  ConcatStep(ValueInfo output, int axis, int64_t rows, std::vector<Part> parts)
      : InferenceStep(std::move(output)), axis_(axis), rows_(rows), parts_(std::move(parts)) {
    for (const Part& part : parts_) row_bytes_ += part.bytes;
  }

  bool is_per_sample() const override { return axis_ != 0; }

  void run(std::span<const void* const> inputs, void* output, uint8_t*) const override {
    parallel_for(rows_, std::max<int64_t>(1, kGrainBytes / row_bytes_), [&](int64_t begin, int64_t end) {
      auto* to = static_cast<char*>(output) + begin * row_bytes_;
      for (size_t i = 0; i < inputs.size(); ++i, to += parts_[i - 1].bytes) {
        const auto* from = static_cast<const char*>(inputs[i]) + parts_[i].offset + begin * parts_[i].step;
        kernels::copy_rows(from, parts_[i].step, to, row_bytes_, parts_[i].bytes, end - begin);
      }
    });
  }

 private:
  int axis_;
  int64_t rows_, row_bytes_ = 0;
  std::vector<Part> parts_;
};

// Sizes in the order of memory, and where the axis is among them.
Shape in_memory(const Shape& s) { return s.ndim() == 4 ? Shape{s[0], s[2], s[3], s[1]} : s; }
int in_memory(int axis, int ndim) { return ndim != 4 || axis == 0 ? axis : axis == 1 ? 3 : axis - 1; }

// Elements from one row to the next, if rows of all dimensions from `place` on, in the order of memory, are dense and
// equally far apart.
std::optional<int64_t> row_step(const ValueInfo& x, int place) {
  const Shape sizes = in_memory(x.shape), strides = in_memory(strides_of(x));
  int64_t dense = 1;
  for (int i = sizes.ndim() - 1; i >= place; dense *= sizes[i--])
    if (sizes[i] != 1 && strides[i] != dense) return std::nullopt;
  int64_t step = dense, next = -1;
  for (int i = place - 1; i >= 0; --i) {
    if (sizes[i] == 1) continue;
    if (next < 0) next = step = strides[i];
    if (strides[i] != next) return std::nullopt;
    next *= sizes[i];
  }
  return step;
}

std::unique_ptr<InferenceStep> concat_step(const Attributes& attributes, std::span<const ValueInfo> inputs) {
  const int ndim = inputs[0].shape.ndim(), axis = normalize_axis(attributes.get<int64_t>("axis", 0), ndim, "concat");
  ValueInfo output = inputs[0].as_usual();
  output.shape[axis] = 0;
  const int place = in_memory(axis, ndim);
  int64_t rows = 1;
  for (int i = 0; i < place; ++i) rows *= in_memory(inputs[0].shape)[i];
  std::vector<ConcatStep::Part> parts;
  for (const ValueInfo& x : inputs) {
    Shape expected = inputs[0].shape;
    if (x.shape.ndim() == ndim) expected[axis] = x.shape[axis];
    if (!x.flattened_image.empty() || x.dtype != output.dtype || x.shape != expected || x.shape.numel() == 0)
      return nullptr;
    const std::optional<int64_t> step = row_step(x, place);
    if (!step) return nullptr;
    output.shape[axis] += x.shape[axis];
    const auto bytes = static_cast<int64_t>(itemsize(x.dtype));
    parts.push_back({x.nbytes() / rows, x.offset * bytes, *step * bytes});
  }
  return std::make_unique<ConcatStep>(output, axis, rows, std::move(parts));
}

const StepRegistration concat_registration("concat", concat_step);

}  // namespace

}  // namespace thimble::nn
