// Parts of tensors, and what joins them.
#include <algorithm>
#include <numeric>

#include <thimble/serialization/onnx/handlers.h>
#include <thimble/serialization/onnx/shape_values.h>

namespace thimble::onnx {

namespace {

void concat(Importer& importer, const OnnxNode& node) {
  std::vector<Value> parts;
  int64_t length = 0;
  for (size_t i = 0; i < node.num_inputs(); ++i) {
    parts.push_back(importer.input(node, i));
    const Value& part = parts.back();
    const int64_t own = part.constant.defined() && part.rank == 1 ? part.constant.numel() : part.length;
    length = length < 0 || own < 0 ? -1 : sum_of_sizes(node, length, own);
  }
  node.require(!parts.empty(), "it has no input");
  const int64_t axis = axis_in(node, node.integer("axis", 1), parts[0].rank);
  Value result = importer.apply(node, "concat", {{"axis", axis}}, parts);
  result.length = length;
  importer.set(node, 0, result);
}

/// Bounds are attributes before opset 10, inputs since, which may be computed.
struct Slices {
  Value starts, ends, axes, steps;
  int count;

  Slices(Importer& importer, const OnnxNode& node) {
    const bool has_attributes = node.opset() < 10;
    starts = has_attributes ? Importer::integers(node.integers("starts")) : importer.input(node, 1);
    ends = has_attributes ? Importer::integers(node.integers("ends")) : importer.input(node, 2);
    count = length_of(node, starts);
    std::vector<int64_t> first(static_cast<size_t>(count));
    std::iota(first.begin(), first.end(), int64_t{0});
    axes = Importer::integers(has_attributes ? node.integers("axes", first) : first);
    if (!has_attributes && importer.has_input(node, 3)) axes = importer.input(node, 3);
    steps = Importer::integers(std::vector<int64_t>(static_cast<size_t>(count), 1));
    if (!has_attributes && importer.has_input(node, 4)) steps = importer.input(node, 4);
    for (const Value* list : {&ends, &axes, &steps})
      node.require(length_of(node, *list) == count, "it has ", count,
                   " starts and other numbers of ends, axes or steps");
  }

  // How many entries of a list of that many are in the slice; -1 if nobody knows.
  int64_t length_in(int64_t length) const {
    const auto known = [](const Value& v) { return v.constant.defined(); };
    if (length < 0 || count != 1 || !known(starts) || !known(ends) || !known(steps)) return -1;
    return NDArray::placeholder({length}, DType::uint8)
        .slice(0, starts.constant.item<int64_t>(), ends.constant.item<int64_t>(), steps.constant.item<int64_t>())
        .numel();
  }
};

void slice(Importer& importer, const OnnxNode& node) {
  Value x = importer.input(node, 0);
  const Slices slices(importer, node);
  const int64_t length = x.rank == 1 ? slices.length_in(x.length) : -1;
  for (int64_t i = 0; i < slices.count; ++i) {
    Value axis = entry(importer, node, slices.axes, i), step = entry(importer, node, slices.steps, i);
    if (axis.constant.defined()) axis = Importer::index(axis_in(node, axis.constant.item<int64_t>(), x.rank));
    Attributes attributes;
    if (!step.constant.defined() || step.constant.item<int64_t>() < 0) attributes.set("clip_start", true);
    x = importer.apply_with(node, "slice", attributes, {x},
                            {{"axis", axis},
                             {"start", entry(importer, node, slices.starts, i)},
                             {"stop", entry(importer, node, slices.ends, i)},
                             {"step", step}},
                            x.rank);
  }
  if (!x.constant.defined()) x.length = length;
  importer.set(node, 0, x);
}

// Parts of these sizes, which the model computes.
void split_by(Importer& importer, const OnnxNode& node, const Value& x, int64_t axis, const Value& sizes) {
  node.require(length_of(node, sizes) == static_cast<int64_t>(node.num_outputs()), "it has ", node.num_outputs(),
               " outputs and another number of sizes");
  Value begin = Importer::index(0);
  for (size_t i = 0; i < node.num_outputs(); ++i) {
    const Value size = entry(importer, node, sizes, static_cast<int64_t>(i));
    node.require(!size.constant.defined() || size.constant.item<int64_t>() >= 0, "a size is negative");
    const Value end = importer.apply(node, "add", {}, {begin, size});
    Value part = importer.apply_with(node, "slice", {{"axis", axis}, {"step", int64_t{1}}}, {x},
                                     {{"start", begin}, {"stop", end}}, x.rank);
    if (x.rank == 1 && !part.constant.defined() && size.constant.defined()) part.length = size.constant.item<int64_t>();
    importer.set(node, i, part);
    begin = end;
  }
}

// Sizes are an attribute before opset 13, an input since; without them all parts have one size, but for the last.
void split(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  const int64_t axis = axis_in(node, node.integer("axis", 0), x.rank);
  const auto parts = static_cast<int64_t>(node.num_outputs());
  node.require(node.integer("num_outputs", parts) == parts, "it has ", parts, " outputs and another 'num_outputs'");
  const bool has_attribute = node.opset() < 13;
  if (has_attribute && node.has("split"))
    return split_by(importer, node, x, axis, Importer::integers(node.integers("split")));
  if (!has_attribute && importer.has_input(node, 1)) return split_by(importer, node, x, axis, importer.input(node, 1));
  for (int64_t i = 0; i < parts; ++i) {
    Value part = importer.apply(node, "chunk", {{"axis", axis}, {"chunks", parts}, {"number", i}}, {x});
    if (x.rank == 1 && x.length >= 0 && x.length % parts == 0) part.length = x.length / parts;
    importer.set(node, static_cast<size_t>(i), part);
  }
}

}  // namespace

void add_slices(Handlers& handlers) {
  const Handlers own{{"Concat", concat}, {"Slice", slice}, {"Split", split}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
