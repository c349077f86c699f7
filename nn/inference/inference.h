// Inference: what layers and ops do when only the answer is wanted. A step is a node of a graph made ready for inputs
// of known shapes: weights packed, sizes checked, memory counted. Running it is arithmetic alone.
// nn/inference/executor.h strings steps together.
//
// While steps run, images [n, c, h, w], and all else of four dimensions, lie channels-last in memory, everything else
// row-major. Views of such values lie as they do: those ops that can read them so get them so.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include <thimble/core/api.h>
#include <thimble/core/attributes.h>
#include <thimble/core/ndarray.h>

namespace thimble::nn {

/// What a step knows about a value.
struct THIMBLE_API ValueInfo {
  Shape shape;
  DType dtype = DType::float32;
  /// {c, h, w} where the elements of each row lie as [h, w, c], as a flattened image's do; else empty.
  Shape flattened_image = {};
  /// Where the elements of a view lie, as NDArray::view() is told; empty for what lies as usual.
  Shape strides = {};
  int64_t offset = 0;
  /// A tensor of the graph: the same for all samples.
  bool is_constant = false;
  /// Its elements, where they are known before anything runs: of what follows from sizes, and of small constants.
  NDArray value = {};

  bool lies_as_usual() const { return flattened_image.empty() && strides.empty(); }
  /// The same in the usual order.
  ValueInfo as_usual() const { return {.shape = shape, .dtype = dtype}; }
  int64_t nbytes() const { return shape.numel() * static_cast<int64_t>(itemsize(dtype)); }
  bool is_image() const { return shape.ndim() == 4; }
  /// Whether memory of the one can hold the other, whatever the values.
  friend bool operator==(const ValueInfo& a, const ValueInfo& b) {
    return a.shape == b.shape && a.dtype == b.dtype && a.flattened_image == b.flattened_image &&
           a.strides == b.strides && a.offset == b.offset && a.is_constant == b.is_constant;
  }
};

/// A value's memory as an array in the graph's order of dimensions (images [n, c, h, w]). Does not own it. For a view,
/// memory is that of the value it is a view of.
THIMBLE_API NDArray array_over(void* memory, const ValueInfo& info);
THIMBLE_API NDArray array_over(const void* memory, const ValueInfo& info);

struct Following;
class SharedWeights;

/// Made by Module::inference_step() or a StepFactory, then asked to absorb what follows, then prepared, then run.
class THIMBLE_API InferenceStep {
 public:
  explicit InferenceStep(ValueInfo output) : output_(std::move(output)) {}
  virtual ~InferenceStep() = default;
  InferenceStep(const InferenceStep&) = delete;
  InferenceStep& operator=(const InferenceStep&) = delete;

  const ValueInfo& output() const { return output_; }

  /// Takes over what a node that follows does to the output, which nobody else reads; see nn/inference/following.h. An
  /// addend, of the output's shape, dtype and order, becomes the last input. False if the step cannot do it, and is as
  /// before then. `weights` are those of the step's layer.
  virtual bool absorb(const Following& /*next*/, SharedWeights& /*weights*/) { return false; }

  /// Makes what running needs, weights in the kernels' order above all, or takes it from another step of the same
  /// layer; see nn/inference/shared_weights.h.
  virtual void prepare(SharedWeights& /*weights*/) {}

  /// Computes the output. scratch has scratch_bytes() bytes, 64-byte aligned. May run on several threads at once.
  virtual void run(std::span<const void* const> inputs, void* output, uint8_t* scratch) const = 0;

  virtual int64_t scratch_bytes() const { return 0; }
  /// Bytes of weights that each run reads.
  virtual int64_t weight_bytes() const { return 0; }
  /// Nothing is computed: the output is the first input's memory.
  virtual bool is_view() const { return false; }
  /// Each element of the output depends on those at its place in the inputs alone, so that it may lie where an input of
  /// its shape does, in the same order.
  virtual bool is_pointwise() const { return false; }
  /// Each sample (index of the first dimension) is computed by itself, so a batch may be divided.
  virtual bool is_per_sample() const { return true; }
  /// That holds if some inputs are constants, too.
  virtual bool is_per_sample_with_constants() const { return false; }

 private:
  ValueInfo output_;
};

/// A step for which nothing is to be done: a reshape, or a layer that hands its input on.
class THIMBLE_API ViewStep : public InferenceStep {
 public:
  explicit ViewStep(ValueInfo output, bool per_sample = true)
      : InferenceStep(std::move(output)), per_sample_(per_sample) {}
  bool is_view() const override { return true; }
  bool is_per_sample() const override { return per_sample_; }
  void run(std::span<const void* const>, void*, uint8_t*) const override {}

 private:
  bool per_sample_;
};

/// Makes an op's step, or returns null if it has none for such inputs.
using StepFactory =
    std::function<std::unique_ptr<InferenceStep>(const Attributes& attributes, std::span<const ValueInfo> inputs)>;

/// At load time, by a static StepRegistration.
THIMBLE_API void register_inference_step(std::string op, StepFactory factory);
/// Null for an op that has no step.
THIMBLE_API const StepFactory* inference_step_factory(std::string_view op);

/// Whether an op computes each sample (index of the first dimension) by itself, for these inputs.
THIMBLE_API bool is_per_sample_op(std::string_view op, const Attributes& attributes, std::span<const ValueInfo> inputs);

/// Whether each element of the op's output depends on those at its place in these inputs alone, one of which has its
/// shape.
THIMBLE_API bool is_pointwise_op(std::string_view op, std::span<const ValueInfo> inputs);

/// `const StepRegistration registration("flatten", flatten_step);`
struct THIMBLE_API StepRegistration {
  StepRegistration(std::string op, StepFactory factory) { register_inference_step(std::move(op), std::move(factory)); }
};

}  // namespace thimble::nn
