#include <algorithm>
#include <limits>
#include <string_view>

#include <thimble/core/error.h>
#include <thimble/core/tensor.h>
#include <thimble/serialization/onnx/folding.h>

namespace thimble::onnx {

namespace {

constexpr double kMostFolded = 1 << 22;  // elements of one constant, unless as many were given
constexpr double kFew = 256;             // so few are always computed: sizes, axes and bounds must be known
constexpr double kInfiniteElements = std::numeric_limits<double>::infinity();
constexpr double kReading = 1.0 / 16;  // what reading an operand takes, of what a result of its size takes

using Arrays = std::vector<NDArray>;
using Sizes = std::vector<int64_t>;

template <size_t kCount>
bool is_one_of(const std::string& op, const std::string_view (&ops)[kCount]) {
  return std::ranges::find(ops, op) != std::end(ops);
}

double elements_of(const NDArray& x) {
  double count = 1;
  for (const int64_t size : x.shape()) count *= static_cast<double>(size);
  return count;
}

// Elements that lie in memory: broadcast ones count once.
double stored(const NDArray& x) {
  double count = 1;
  for (int d = 0; d < x.ndim(); ++d)
    if (x.strides()[d] != 0) count *= static_cast<double>(x.shape(d));
  return count;
}

double total(const Arrays& operands, double (*measure)(const NDArray&)) {
  double sum = 0;
  for (const NDArray& operand : operands) sum += measure(operand);
  return sum;
}

// What is made on the way to nothing is something: of a tile by a million and by 0, the first.
double product_of(const std::vector<double>& factors) {
  double product = 1;
  for (const double factor : factors) product *= std::max(factor, 1.0);
  return product;
}

std::vector<double> sizes_as_numbers(const NDArray& x) { return {x.shape().begin(), x.shape().end()}; }

// The attribute's lists are {before of each axis..., after of each...} or, in PyTorch's order, pairs from the last
// axis.
double padded(const Attributes& attributes, const NDArray& x) {
  const bool is_onnx = attributes.contains("pads");
  const auto padding = attributes.get<Sizes>(is_onnx ? "pads" : "padding"), axes = attributes.get<Sizes>("axes", {});
  std::vector<double> sizes = sizes_as_numbers(x);
  const size_t ndim = sizes.size(), pairs = padding.size() / 2;
  for (size_t i = 0; i < pairs; ++i) {
    int64_t axis = is_onnx ? static_cast<int64_t>(i) : static_cast<int64_t>(ndim) - 1 - static_cast<int64_t>(i);
    if (i < axes.size()) axis = axes[i] < 0 ? axes[i] + static_cast<int64_t>(ndim) : axes[i];
    if (axis < 0 || axis >= static_cast<int64_t>(ndim)) return 0;  // which the op refuses
    const int64_t before = padding[is_onnx ? i : 2 * i], after = padding[is_onnx ? i + pairs : 2 * i + 1];
    sizes[static_cast<size_t>(axis)] += static_cast<double>(before) + static_cast<double>(after);
  }
  return product_of(sizes);
}

// With one scale for all axes it is at most the largest.
double resampled(const Attributes& attributes, const NDArray& x) {
  auto scales = attributes.get<std::vector<double>>("scales", {});
  const auto sizes = attributes.get<Sizes>("sizes", {}), axes = attributes.get<Sizes>("axes", {});
  const auto ndim = static_cast<int64_t>(x.ndim());
  for (size_t i = 0; i < sizes.size() && scales.size() < sizes.size(); ++i) {
    const int64_t own = i < axes.size() ? axes[i] : static_cast<int64_t>(i), axis = own < 0 ? own + ndim : own;
    if (axis < 0 || axis >= ndim) return 0;  // which the op refuses
    scales.push_back(static_cast<double>(sizes[i]) /
                     static_cast<double>(std::max<int64_t>(x.shape(static_cast<int>(axis)), 1)));
  }
  if (attributes.get<std::string>("aspect", "stretch") != "stretch" && !scales.empty())
    std::ranges::fill(scales, *std::ranges::max_element(scales));
  return elements_of(x) * product_of(scales);
}

double counted(const Arrays& numbers) {
  if (numbers.size() != 3 || std::ranges::any_of(numbers, [](const NDArray& x) { return x.numel() != 1; })) return 0;
  const auto start = numbers[0].item<double>(), stop = numbers[1].item<double>(), step = numbers[2].item<double>();
  return std::max((stop - start) / step, 0.0);
}

// Of ops that make any number of elements of a few, as their attributes say; below 0 for others.
double elements_by_attributes(const std::string& op, const Attributes& attributes, const Arrays& operands) {
  const auto times = [&](const Sizes& factors) {
    return elements_of(operands[0]) * product_of({factors.begin(), factors.end()});
  };
  if (op == "tile") return times(attributes.get<Sizes>("repeats"));
  if (op == "upsample_nearest2d") return times(attributes.get<Sizes>("scale_factor"));
  if (op == "one_hot") {  // below 0: one more than the largest index
    const auto classes = attributes.get<int64_t>("num_classes");
    return classes < 0 ? kInfiniteElements : times({classes});
  }
  if (op == "pad") return padded(attributes, operands[0]);
  if (op == "interpolate") return resampled(attributes, operands[0]);
  if (op == "arange") return counted(operands);
  return -1;
}

double broadcast_elements(const std::string& op, const Arrays& operands) {
  Shape all;
  double largest = 0;
  bool broadcasts = true;
  for (const NDArray& operand : operands) {
    largest = std::max(largest, elements_of(operand));
    try {
      if (broadcasts) all = broadcast_shapes(all, operand.shape(), op);
    } catch (const ShapeError&) {
      broadcasts = false;
    }
  }
  return broadcasts ? product_of({all.begin(), all.end()}) : largest;
}

// A slice for each index.
double taken_elements(const Attributes& attributes, const Arrays& operands) {
  const NDArray &x = operands[0], &index = operands[1];
  const auto axis = attributes.get<int64_t>("axis");
  if (axis < -x.ndim() || axis >= x.ndim()) return 0;  // which the op refuses
  const auto along = static_cast<double>(x.shape(static_cast<int>(axis)));
  return elements_of(x) / std::max(along, 1.0) * elements_of(index);
}

// How many elements an op gives at most.
double most_elements(const std::string& op, const Attributes& attributes, const Arrays& operands) {
  constexpr std::string_view kProducts[] = {"einsum", "gather_nd", "matmul"};
  if (op.ends_with("quantize_linear")) return elements_of(operands[0]);
  if (op == "concat" || op == "stack") return total(operands, elements_of);
  if (op == "take" && operands.size() == 2) return taken_elements(attributes, operands);
  if (op == "nonzero") return elements_of(operands[0]) * operands[0].ndim();
  if (op == "broadcast_to" && attributes.contains("shape")) {
    const auto sizes = attributes.get<Sizes>("shape");
    return std::max(product_of({sizes.begin(), sizes.end()}), elements_of(operands[0]));
  }
  if (!is_one_of(op, kProducts)) return broadcast_elements(op, operands);
  double product = 1;
  for (const NDArray& operand : operands) product *= elements_of(operand);
  return product;
}

// A window may be as large as the image: the time has nothing to do with the number of elements.
bool takes_long(const std::string& op) {
  constexpr std::string_view kWindows[] = {
      "avg_pool2d",          "conv2d", "conv_transpose2d", "grid_sample",        "gru",          "lp_pool2d",
      "local_response_norm", "lstm",   "max_pool2d",       "max_pool2d_indices", "max_unpool2d", "rnn"};
  return is_one_of(op, kWindows);
}

bool is_view_of(const NDArray& x, const Arrays& operands) {
  return std::ranges::any_of(operands, [&](const NDArray& operand) { return x.shares_memory_with(operand); });
}

// These give views of what they have, as a rule, of no more elements.
bool gives_view(const std::string& op) {
  constexpr std::string_view kViews[] = {"broadcast_to", "chunk",   "flatten",   "permute",  "reshape",
                                         "slice",        "squeeze", "transpose", "unsqueeze"};
  return is_one_of(op, kViews);
}

double bytes_of(const NDArray& x) { return elements_of(x) * static_cast<double>(itemsize(x.dtype())); }
double stored_bytes(const NDArray& x) { return stored(x) * static_cast<double>(itemsize(x.dtype())); }

// What the result is to take, before it is there.
double estimate_of(const std::string& op, double elements, const Arrays& operands) {
  size_t widest = 4;
  for (const NDArray& operand : operands) widest = std::max(widest, itemsize(operand.dtype()));
  const double reading = kReading * total(operands, stored_bytes);
  return gives_view(op) ? 0 : reading + elements * static_cast<double>(widest);
}

// A view that repeats what it has would be written out where it is used.
double bytes_taken(const NDArray& result, const Arrays& operands) {
  if (!is_view_of(result, operands)) return kReading * total(operands, stored_bytes) + bytes_of(result);
  return elements_of(result) > stored(result) ? bytes_of(result) : 0;
}

}  // namespace

Attribute attribute_of(const NDArray& value) {
  const bool is_list = value.ndim() > 0;
  if (is_differentiable(value.dtype()))
    return is_list ? Attribute(value.to_vector<double>()) : Attribute(value.item<double>());
  return is_list ? Attribute(value.to_vector<int64_t>()) : Attribute(value.item<int64_t>());
}

std::optional<NDArray> folded(const std::string& op, const Attributes& attributes, const Arrays& operands,
                              ImportBudget& budget) {
  const double given = total(operands, stored), asked = elements_by_attributes(op, attributes, operands);
  check<FormatError>(asked <= std::max(kMostFolded, 4 * given), "it makes ", asked,
                     " elements of constants, which is too many");
  const double elements = asked >= 0 ? asked : most_elements(op, attributes, operands);
  const bool is_small = elements <= kFew && given <= kFew;
  if (takes_long(op) || !(elements <= std::max(kMostFolded, 2 * given) || asked >= 0)) return std::nullopt;
  const double estimate = is_small ? 0 : estimate_of(op, elements, operands);
  if (!budget.compute(estimate)) return std::nullopt;
  std::vector<Tensor> tensors(operands.begin(), operands.end());
  const NDArray result = thimble::apply(make_op(op, attributes), std::move(tensors)).data();
  if (is_small && elements_of(result) <= kFew) return result;
  const double taken = bytes_taken(result, operands);
  if (taken < estimate) budget.give_back(estimate - taken);
  const bool is_sparse = elements_of(result) > std::max(kMostFolded, 2 * stored(result));
  if (is_sparse || (taken > estimate && !budget.compute(taken - estimate))) return std::nullopt;
  return result;
}

}  // namespace thimble::onnx
