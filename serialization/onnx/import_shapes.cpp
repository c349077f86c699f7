// What moves elements, and what reckons with sizes.
#include <algorithm>
#include <limits>
#include <numeric>

#include <thimble/serialization/onnx/handlers.h>

namespace thimble::onnx {

namespace {

constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();

int64_t axis_in(const OnnxNode& node, int64_t axis, int rank) {
  node.require(axis >= -rank && axis < rank, "its axis ", axis, " is not one of ", rank, " dimensions");
  return axis < 0 ? axis + rank : axis;
}

// An attribute in opsets before `since`, an input from there on; empty if it is in neither.
std::vector<int64_t> list_of(Importer& importer, const OnnxNode& node, int64_t since, const char* key) {
  if (node.opset() < since) return node.integers(key);
  return importer.has_input(node, 1) ? importer.constant_integers(node, 1, key) : std::vector<int64_t>{};
}

Value slice_of(Importer& importer, const OnnxNode& node, const Value& x, int64_t axis, int64_t start, int64_t stop,
               int64_t step = 1) {
  return importer.apply(node, "slice", {{"axis", axis}, {"start", start}, {"stop", stop}, {"step", step}}, {x});
}

Value squeezed(Importer& importer, const OnnxNode& node, const Value& x, int64_t axis) {
  return importer.apply(node, "squeeze", {{"axis", axis}}, {x}, x.rank - 1);
}

// Entry i of a list, as a number.
Value entry(Importer& importer, const OnnxNode& node, const Value& list, int64_t i) {
  return squeezed(importer, node, slice_of(importer, node, list, 0, i, i + 1), 0);
}

void constant(Importer& importer, const OnnxNode& node) {
  if (node.has("value")) return importer.set(node, 0, Importer::known(node.array("value")));
  if (node.has("value_float")) return importer.set(node, 0, Importer::number(node.number("value_float", 0)));
  if (node.has("value_ints")) return importer.set(node, 0, Importer::integers(node.integers("value_ints")));
  node.require(node.has("value_int"), "it has none of the attributes that are covered");
  importer.set(node, 0, Importer::known(NDArray::from_vector<int64_t>({node.integer("value_int", 0)}, {})));
}

void shape(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  const int64_t start = node.integer("start", 0), end = node.integer("end", kEnd);
  Value sizes = importer.apply(node, "shape", {}, {x}, 1);
  sizes.length = x.rank;
  if (start != 0 || end != kEnd) {
    sizes = slice_of(importer, node, sizes, 0, start, end);
    sizes.length = NDArray::arange(x.rank).slice(0, start, end).numel();
  }
  importer.set(node, 0, sizes);
}

// How many entries a list of sizes has must be known: it is the number of dimensions.
int length_of(const OnnxNode& node, const Value& list) {
  node.require(list.constant.defined() || list.length >= 0, "nobody knows how many dimensions its output has");
  return list.constant.defined() ? static_cast<int>(list.constant.numel()) : static_cast<int>(list.length);
}

void reshape(Importer& importer, const OnnxNode& node) {
  const Value &x = importer.input(node, 0), &sizes = importer.input(node, 1);
  Attributes attributes;
  if (node.integer("allowzero", 0) == 0) attributes.set("zero_copies", true);
  importer.set(node, 0,
               importer.apply_with(node, "reshape", attributes, {x}, {{"shape", sizes}}, length_of(node, sizes)));
}

void flatten(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  const int64_t axis = node.integer("axis", 1);
  node.require(axis == 1 || (axis < 0 && axis + x.rank == 1), "its axis ", axis, " is not 1, which is not covered");
  if (x.rank == 2) return importer.set(node, 0, x);
  importer.set(node, 0, importer.apply(node, "flatten", {{"start_dim", int64_t{1}}, {"end_dim", int64_t{-1}}}, {x}, 2));
}

void transpose(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  std::vector<int64_t> reversed(static_cast<size_t>(std::max(x.rank, 0)));
  std::iota(reversed.rbegin(), reversed.rend(), int64_t{0});
  importer.set(node, 0, importer.apply(node, "permute", {{"axes", node.integers("perm", reversed)}}, {x}));
}

void concat(Importer& importer, const OnnxNode& node) {
  std::vector<Value> parts;
  int64_t length = 0;
  for (size_t i = 0; i < node.num_inputs(); ++i) {
    parts.push_back(importer.input(node, i));
    const Value& part = parts.back();
    const int64_t own = part.constant.defined() && part.rank == 1 ? part.constant.numel() : part.length;
    length = length < 0 || own < 0 ? -1 : length + own;
  }
  const int64_t axis = axis_in(node, node.integer("axis", 1), parts[0].rank);
  Value result = importer.apply(node, "concat", {{"axis", axis}}, parts);
  result.length = length;
  importer.set(node, 0, result);
}

void squeeze(Importer& importer, const OnnxNode& node) {
  Value x = importer.input(node, 0);
  std::vector<int64_t> axes = list_of(importer, node, 13, "axes");
  node.require(!axes.empty(), "without axes it depends on sizes, which is not covered");
  for (int64_t& axis : axes) axis = axis_in(node, axis, x.rank);
  std::ranges::sort(axes, std::greater());
  for (const int64_t axis : axes) x = squeezed(importer, node, x, axis);
  importer.set(node, 0, x);
}

void unsqueeze(Importer& importer, const OnnxNode& node) {
  Value x = importer.input(node, 0);
  std::vector<int64_t> axes = list_of(importer, node, 13, "axes");
  const int rank = x.rank + static_cast<int>(axes.size());
  for (int64_t& axis : axes) axis = axis_in(node, axis, rank);
  std::ranges::sort(axes);
  const bool becomes_list = x.rank == 0 && axes.size() == 1;
  for (const int64_t axis : axes) x = importer.apply(node, "unsqueeze", {{"axis", axis}}, {x}, x.rank + 1);
  if (becomes_list && !x.constant.defined()) x.length = 1;
  importer.set(node, 0, x);
}

// Bounds are attributes before opset 10, inputs since, which may be computed.
void slice(Importer& importer, const OnnxNode& node) {
  Value x = importer.input(node, 0);
  const bool has_attributes = node.opset() < 10;
  const Value starts = has_attributes ? Importer::integers(node.integers("starts")) : importer.input(node, 1),
              ends = has_attributes ? Importer::integers(node.integers("ends")) : importer.input(node, 2);
  const int count = length_of(node, starts);
  node.require(length_of(node, ends) == count, "it has ", count, " starts and another number of ends");
  std::vector<int64_t> axes(static_cast<size_t>(count)), steps(static_cast<size_t>(count), 1);
  std::iota(axes.begin(), axes.end(), int64_t{0});
  if (has_attributes)
    axes = node.integers("axes", axes);
  else if (importer.has_input(node, 3))
    axes = importer.constant_integers(node, 3, "axes");
  if (!has_attributes && importer.has_input(node, 4)) steps = importer.constant_integers(node, 4, "steps");
  node.require(axes.size() == static_cast<size_t>(count) && steps.size() == axes.size(), "it has ", count,
               " starts and other numbers of axes or steps");
  // A part of a list of sizes has a length that follows.
  const bool is_list = x.rank == 1 && x.length >= 0 && starts.constant.defined() && ends.constant.defined();
  const int64_t length = x.length;
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    x = importer.apply_with(node, "slice", {{"axis", axis_in(node, axes[i], x.rank)}, {"step", steps[i]}}, {x},
                            {{"start", entry(importer, node, starts, at)}, {"stop", entry(importer, node, ends, at)}},
                            x.rank);
  }
  if (is_list && !x.constant.defined())
    x.length = NDArray::arange(length)
                   .slice(0, starts.constant.item<int64_t>(), ends.constant.item<int64_t>(), steps[0])
                   .numel();
  importer.set(node, 0, x);
}

void split(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  const int64_t axis = axis_in(node, node.integer("axis", 0), x.rank);
  const std::vector<int64_t> sizes = list_of(importer, node, 13, "split");
  node.require(sizes.size() == node.num_outputs(), "without the sizes of its ", node.num_outputs(),
               " outputs it depends on its input's, which is not covered");
  int64_t begin = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    node.require(sizes[i] >= 0, "a size is negative");
    if (!node.output(i).empty()) importer.set(node, i, slice_of(importer, node, x, axis, begin, begin + sizes[i]));
    begin += sizes[i];
  }
}

void gather(Importer& importer, const OnnxNode& node) {
  const Value &x = importer.input(node, 0), &index = importer.input(node, 1);
  const int64_t axis = axis_in(node, node.integer("axis", 0), x.rank);
  if (index.constant.defined() && index.constant.numel() == 1) {
    const auto i = index.constant.reshape({1}).to_vector<int64_t>()[0];
    const Value part = slice_of(importer, node, x, axis, i, i == -1 ? kEnd : i + 1);
    if (index.rank == 0) return importer.set(node, 0, squeezed(importer, node, part, axis));
    Value list = part;
    list.length = x.rank == 1 ? 1 : -1;
    node.require(index.rank == 1, "its index has ", index.rank, " dimensions, which is not covered");
    return importer.set(node, 0, list);
  }
  if (x.constant.defined() && x.rank == 2 && axis == 0 && !index.constant.defined())
    return importer.set(node, 0, importer.apply(node, "embedding", {}, {index, x}, index.rank + 1));
  node.require(index.rank == 1, "its index has ", index.rank, " dimensions, which is not covered");
  Value result = importer.apply(node, "index_select", {{"axis", axis}}, {x, index});
  if (x.rank == 1 && index.constant.defined()) result.length = index.constant.numel();
  importer.set(node, 0, result);
}

// 1 keeps the input's size, which broadcast_to says by -1.
void expand(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  std::vector<int64_t> sizes = importer.constant_integers(node, 1, "shape");
  const int more = static_cast<int>(sizes.size()) - x.rank;
  node.require(more >= 0, "it has fewer sizes than its input dimensions, which is not covered");
  for (size_t d = static_cast<size_t>(more); d < sizes.size(); ++d)
    if (sizes[d] == 1) sizes[d] = -1;
  importer.set(node, 0, importer.apply(node, "broadcast_to", {{"shape", sizes}}, {x}, static_cast<int>(sizes.size())));
}

void constant_of_shape(Importer& importer, const OnnxNode& node) {
  const Shape sizes(importer.constant_integers(node, 0, "input"));
  const NDArray value = node.has("value") ? node.array("value") : NDArray::zeros({1});
  node.require(value.numel() == 1, "its value has ", value.numel(), " elements, expected one");
  constexpr int64_t kMost = int64_t{1} << 28;
  node.require(sizes.numel() <= kMost, "it makes ", sizes.numel(), " elements, which is too many");
  importer.set(node, 0,
               Importer::known(value.reshape(Shape::filled(sizes.ndim(), 1)).broadcast_to(sizes).contiguous()));
}

void pad(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  node.require(node.text("mode", "constant") == "constant", "only the mode 'constant' is covered");
  const bool has_attributes = node.opset() < 11;
  const std::vector<int64_t> pads =
      has_attributes ? node.integers("pads") : importer.constant_integers(node, 1, "pads");
  const double value = has_attributes                ? node.number("value", 0)
                       : importer.has_input(node, 2) ? importer.constant_number(node, 2, "constant_value")
                                                     : 0;
  node.require(!importer.has_input(node, 3), "its input 'axes' is not covered");
  node.require(
      pads.size() == 2 * static_cast<size_t>(x.rank) && std::ranges::all_of(pads, [](int64_t p) { return p >= 0; }),
      "its pads are not two numbers from 0 on for each dimension");
  std::vector<int64_t> padding;  // the last axis first
  for (size_t d = static_cast<size_t>(x.rank); d-- > 0;) {
    padding.push_back(pads[d]);
    padding.push_back(pads[d + static_cast<size_t>(x.rank)]);
  }
  importer.set(node, 0, importer.apply(node, "pad", {{"padding", padding}, {"value", value}}, {x}));
}

}  // namespace

void add_shapes(Handlers& handlers) {
  const Handlers own{{"Concat", concat},
                     {"Constant", constant},
                     {"ConstantOfShape", constant_of_shape},
                     {"Expand", expand},
                     {"Flatten", flatten},
                     {"Gather", gather},
                     {"Pad", pad},
                     {"Reshape", reshape},
                     {"Shape", shape},
                     {"Slice", slice},
                     {"Split", split},
                     {"Squeeze", squeeze},
                     {"Transpose", transpose},
                     {"Unsqueeze", unsqueeze}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
