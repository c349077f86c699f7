// Steps of ops that move no elements, and of those that can work on what such ops make.
//
// A slice or a permutation is a view: its ValueInfo says where the elements lie. So attention's queries, keys and
// values are read from the product that made all three.
#include <algorithm>
#include <array>
#include <optional>

#include <thimble/core/op.h>
#include <thimble/core/shape.h>
#include <thimble/nn/inference/inference.h>
#include <thimble/nn/inference/view_steps.h>

namespace thimble::nn {

namespace {

// Elements from the value's first one to the last one of its view.
int64_t extent(const ValueInfo& x) {
  if (x.strides.empty()) return x.shape.numel();
  int64_t last = x.offset;
  for (int i = 0; i < x.shape.ndim(); ++i) last += std::max<int64_t>(0, (x.shape[i] - 1) * x.strides[i]);
  return last + 1;
}

// Where elements lie that are given in these strides: nothing, if it is where they would be anyway.
ValueInfo lying(const Shape& shape, DType dtype, const Shape& strides, int64_t offset) {
  const ValueInfo usual{.shape = shape, .dtype = dtype};
  const Shape expected = strides_of(usual);
  bool same = offset == 0;
  for (int i = 0; i < shape.ndim(); ++i) same = same && (shape[i] == 1 || strides[i] == expected[i]);
  if (same) return usual;
  return {.shape = shape, .dtype = dtype, .strides = strides, .offset = offset};
}

bool keeps_row_major_order(std::string_view op) { return op == "reshape" || op == "flatten"; }

// What the op makes of x, if that is a view of it.
std::optional<ValueInfo> view_by(const std::string& op, const Attributes& attributes, const ValueInfo& x) {
  const NDArray memory({extent(x)}, x.dtype);  // not read, but by ops that make no view
  const NDArray inputs[] = {array_over(memory.raw(), x)};
  const NDArray y = op_factory(op)(attributes)->compute(inputs);
  const auto *first = static_cast<const char*>(memory.raw()), *at = static_cast<const char*>(y.raw());
  if (y.numel() == 0 || y.ndim() == 0 || at < first || at >= first + memory.nbytes()) return std::nullopt;
  ValueInfo view = lying(y.shape(), y.dtype(), y.strides(), (at - first) / static_cast<int64_t>(itemsize(y.dtype())));
  view.is_constant = x.is_constant;
  return view;
}

// Whether sample i of the view, y, is the same part of sample i of x as of any other.
bool is_view_of_samples(const std::string& op, const Attributes& attributes, const ValueInfo& x, const ValueInfo& y) {
  if (x.is_constant || x.shape.ndim() == 0 || y.shape.ndim() == 0 || x.shape[0] != y.shape[0]) return false;
  if (keeps_row_major_order(op)) return true;
  const Shape from = strides_of(x), to = strides_of(y);
  if (x.shape[0] > 1 && from[0] != to[0]) return false;
  ValueInfo one = x;
  one.shape[0] = 1;
  if (!x.strides.empty()) one.strides = from;
  std::optional<ValueInfo> of_one;
  try {
    of_one = view_by(op, attributes, one);
  } catch (const Error&) {  // it counts on this batch
  }
  if (!of_one || of_one->shape.ndim() != y.shape.ndim() || of_one->offset != y.offset || of_one->shape[0] != 1)
    return false;
  const Shape to_of_one = strides_of(*of_one);
  for (int i = 1; i < y.shape.ndim(); ++i)
    if (of_one->shape[i] != y.shape[i] || (y.shape[i] > 1 && to_of_one[i] != to[i])) return false;
  return true;
}

// The elements of x in another order of memory: reshape() where strides allow no view.
class ReshapeStep : public InferenceStep {
 public:
  // `target` is the output in the shape of the input.
  ReshapeStep(const ValueInfo& input, const ValueInfo& output, ValueInfo target)
      : InferenceStep(output), input_(input), target_(std::move(target)) {}

  // Where there are as many samples as before, each has its own elements still.
  bool is_per_sample() const override {
    const Shape &from = input_.shape, &to = output().shape;
    return !input_.is_constant && !from.empty() && !to.empty() && from[0] == to[0];
  }

  void run(std::span<const void* const> inputs, void* output, uint8_t*) const override {
    array_over(output, target_).copy_from(array_over(inputs[0], input_));
  }

 private:
  ValueInfo input_, target_;
};

// Reshaped images whose lines stay what they are, of shuffled channels for example, go where layers want them: pixel by
// pixel. Everything else in row-major order.
std::unique_ptr<InferenceStep> reshape_step(const ValueInfo& x, const Shape& shape) {
  const int last = x.shape.ndim() - 1;
  const ValueInfo usual{.shape = shape, .dtype = x.dtype};
  if (usual.is_image() && last >= 2 && x.shape[last] == shape[3] && x.shape[last - 1] == shape[2])
    if (const std::optional<ValueInfo> target = view_by("reshape", {{"shape", x.shape.to_vector()}}, usual))
      return std::make_unique<ReshapeStep>(x, usual, *target);
  const ValueInfo in_order{.shape = x.shape, .dtype = x.dtype, .strides = contiguous_strides(x.shape)};
  return std::make_unique<ReshapeStep>(x, row_major(shape, x.dtype), in_order);
}

std::unique_ptr<InferenceStep> view_step(const std::string& op, const Attributes& attributes,
                                         std::span<const ValueInfo> inputs) {
  const ValueInfo& x = inputs[0];
  if (inputs.size() != 1 || !x.flattened_image.empty() || x.shape.numel() == 0) return nullptr;
  if (const std::optional<ValueInfo> y = view_by(op, attributes, x))
    return std::make_unique<ViewStep>(*y, is_view_of_samples(op, attributes, x, *y));
  if (!keeps_row_major_order(op)) return nullptr;
  const NDArray placeholder = NDArray::placeholder(x.shape, x.dtype);
  const Shape shape = op_factory(op)(attributes)->compute(std::span(&placeholder, 1)).shape();
  return reshape_step(x, shape);
}

// An op on elements, or on rows, that lie anyhow but without gaps: on arrays of another shape over the same memory.
class DenseOpStep : public InferenceStep {
 public:
  DenseOpStep(std::unique_ptr<const Op> op, std::vector<ValueInfo> inputs, const ValueInfo& like, ValueInfo output,
              bool pointwise)
      : InferenceStep({.shape = like.shape, .dtype = like.dtype, .strides = like.strides}),
        op_(std::move(op)),
        inputs_(std::move(inputs)),
        out_(std::move(output)),
        pointwise_(pointwise) {}

  bool is_pointwise() const override { return pointwise_; }
  // Constants are single numbers.
  bool is_per_sample_with_constants() const override { return true; }

  void run(std::span<const void* const> inputs, void* output, uint8_t*) const override {
    NDArray arguments[2];
    for (size_t i = 0; i < inputs.size(); ++i) arguments[i] = array_over(inputs[i], inputs_[i]);
    NDArray out = array_over(output, out_);
    check(op_->compute_into(std::span(arguments, inputs.size()), out), op_->name(), ": did not compute in place");
  }

 private:
  std::unique_ptr<const Op> op_;
  std::vector<ValueInfo> inputs_;
  ValueInfo out_;
  bool pointwise_;
};

bool is_dense_view(const ValueInfo& x) {
  return !x.strides.empty() && x.dtype == DType::float32 && !x.is_constant && x.shape.numel() > 0 &&
         NDArray::placeholder({}).view(x.shape, x.strides, 0).is_dense();
}

// A view of n elements, or rows of n, as they lie.
ValueInfo as_they_lie(const ValueInfo& x, const Shape& shape) {
  return {.shape = shape, .dtype = x.dtype, .strides = contiguous_strides(shape), .offset = x.offset};
}

std::unique_ptr<InferenceStep> pointwise_step(const std::string& op, const Attributes& attributes,
                                              std::span<const ValueInfo> inputs) {
  const auto view = std::ranges::find_if(inputs, [](const ValueInfo& x) { return !x.strides.empty(); });
  if (view == inputs.end() || inputs.size() > 2 || !is_dense_view(*view)) return nullptr;
  const Shape all{view->shape.numel()};
  std::vector<ValueInfo> arguments;
  bool in_place = true;
  for (const ValueInfo& x : inputs) {
    const bool is_number =
        x.lies_as_usual() && x.shape.numel() == 1 && x.dtype == view->dtype && x.shape.ndim() <= view->shape.ndim();
    const bool is_alike =
        x.shape == view->shape && x.strides == view->strides && x.dtype == view->dtype && !x.is_constant;
    if (!is_number && !is_alike) return nullptr;
    arguments.push_back(is_number ? ValueInfo{.shape = {1}, .dtype = x.dtype} : as_they_lie(x, all));
    in_place = in_place && x.offset == 0;
  }
  return std::make_unique<DenseOpStep>(op_factory(op)(attributes), arguments, *view,
                                       as_they_lie({.shape = {}, .dtype = view->dtype}, all), in_place);
}

// where() with a number on one side, a mask in front of softmax for example: the result lies as the other side does.
class MaskStep : public InferenceStep {
 public:
  MaskStep(std::span<const ValueInfo> inputs, const ValueInfo& like)
      : InferenceStep({.shape = like.shape, .dtype = like.dtype, .strides = like.strides}),
        op_(op_factory("where")({})),
        inputs_(inputs.begin(), inputs.end()) {}

  bool is_per_sample() const override {
    const ValueInfo& condition = inputs_[0];
    const Shape& shape = output().shape;
    if (condition.is_constant) return condition.shape.ndim() < shape.ndim() || condition.shape[0] == 1;
    return condition.shape.ndim() == shape.ndim() && condition.shape[0] == shape[0];
  }
  bool is_per_sample_with_constants() const override { return is_per_sample(); }

  void run(std::span<const void* const> inputs, void* output, uint8_t*) const override {
    std::array<NDArray, 3> arguments;
    for (size_t i = 0; i < arguments.size(); ++i) arguments[i] = array_over(inputs[i], inputs_[i]);
    NDArray out = array_over(output, this->output());
    check(op_->compute_into(arguments, out), "where: did not compute in place");
  }

 private:
  std::unique_ptr<const Op> op_;
  std::vector<ValueInfo> inputs_;
};

std::unique_ptr<InferenceStep> where_step(const std::string& op, const Attributes&, std::span<const ValueInfo> inputs) {
  if (inputs.size() != 3) return nullptr;
  const auto is_number = [&](const ValueInfo& x, const ValueInfo& other) {
    return x.is_constant && x.shape.numel() == 1 && x.shape.ndim() <= other.shape.ndim() && x.dtype == other.dtype;
  };
  for (const size_t i : {1, 2}) {
    const ValueInfo &x = inputs[i], &condition = inputs[0];
    const bool is_condition = condition.dtype == DType::bool_ && condition.flattened_image.empty();
    if (!is_condition || !is_dense_view(x) || !is_number(inputs[3 - i], x)) continue;
    if (broadcast_shapes(condition.shape, x.shape, op.c_str()) == x.shape) return std::make_unique<MaskStep>(inputs, x);
  }
  return nullptr;
}

std::unique_ptr<InferenceStep> softmax_step(const std::string& op, const Attributes& attributes,
                                            std::span<const ValueInfo> inputs) {
  const ValueInfo& x = inputs[0];
  const int ndim = x.shape.ndim();
  const bool is_usual = x.lies_as_usual() && x.dtype == DType::float32 && !x.is_constant && x.shape.numel() > 0;
  if (inputs.size() != 1 || ndim < 2 || !(is_usual || is_dense_view(x))) return nullptr;
  const int axis = normalize_axis(attributes.get<int64_t>("axis", -1), ndim, "softmax");
  if (axis == 0 || strides_of(x)[axis] != 1) return nullptr;
  const Shape rows{x.shape.numel() / x.shape[axis], x.shape[axis]};
  return std::make_unique<DenseOpStep>(op_factory(op)({{"axis", int64_t{1}}}), std::vector{as_they_lie(x, rows)}, x,
                                       as_they_lie({.shape = {}, .dtype = x.dtype}, rows), false);
}

using Factory = std::unique_ptr<InferenceStep> (*)(const std::string&, const Attributes&, std::span<const ValueInfo>);

void register_for(std::initializer_list<const char*> ops, Factory factory) {
  for (const std::string op : ops)
    register_inference_step(op, [op, factory](const Attributes& attributes, std::span<const ValueInfo> inputs) {
      return factory(op, attributes, inputs);
    });
}

const bool registered_views = [] {
  register_for(
      {"broadcast_to", "chunk", "diagonal", "permute", "reshape", "slice", "squeeze", "transpose", "unsqueeze"},
      view_step);
  register_for({"abs",         "add",       "add_relu",   "clamp", "div",     "erf",     "exp", "gelu",
                "hardsigmoid", "hardswish", "leaky_relu", "log",   "maximum", "minimum", "mul", "neg",
                "relu",        "relu6",     "sigmoid",    "silu",  "sqrt",    "sub",     "tanh"},
               pointwise_step);
  register_for({"softmax", "log_softmax"}, softmax_step);
  register_for({"where"}, where_step);
  return true;
}();

}  // namespace

Shape strides_of(const ValueInfo& x) {
  if (!x.strides.empty() || x.shape.ndim() == 0) return x.strides;
  const Shape& s = x.shape;
  return x.is_image() ? Shape{s[1] * s[2] * s[3], 1, s[3] * s[1], s[1]} : contiguous_strides(s);
}

ValueInfo row_major(const Shape& shape, DType dtype) { return lying(shape, dtype, contiguous_strides(shape), 0); }

ValueInfo lying_as(const Shape& shape, DType dtype, const Shape& strides) { return lying(shape, dtype, strides, 0); }

std::unique_ptr<InferenceStep> flattened_view(const Attributes& attributes, std::span<const ValueInfo> inputs) {
  return view_step("flatten", attributes, inputs);
}

}  // namespace thimble::nn
