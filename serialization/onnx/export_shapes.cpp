// What moves and selects elements.
#include <algorithm>
#include <numeric>

#include <thimble/nn/graph/attribute_inputs.h>
#include <thimble/serialization/onnx/export_handlers.h>

namespace thimble::onnx {

namespace {

using nn::Node;

void write_shape(Exporter& e, const Node& node) { e.result(node, "Shape", e.operands(node)); }

// A size of 0 is one, unless the op says that it stands for the input's.
void write_reshape(Exporter& e, const Node& node) {
  Attributes attributes;
  const auto sizes = node.attributes.get("shape", std::vector<int64_t>{0});  // or computed, and perhaps 0
  if (std::ranges::count(sizes, 0) > 0 && !node.attributes.get("zero_copies", false))
    attributes.set("allowzero", int64_t{1});
  e.result(node, "Reshape", {e.input(node, 0), e.list_attribute(node, "shape")}, attributes);
}

void write_permutation(Exporter& e, const Node& node, std::vector<int64_t> axes) {
  e.result(node, "Transpose", {e.input(node, 0)}, {{"perm", std::move(axes)}});
}

void write_transpose(Exporter& e, const Node& node) {
  std::vector<int64_t> axes(e.input_type(node, 0).sizes.size());
  std::iota(axes.begin(), axes.end(), int64_t{0});
  const auto at = [&](const char* key) {
    return static_cast<size_t>(e.axis_of(node, node.attributes.get<int64_t>(key)));
  };
  std::swap(axes[at("axis0")], axes[at("axis1")]);
  write_permutation(e, node, axes);
}

void write_permute(Exporter& e, const Node& node) {
  auto axes = node.attributes.get<std::vector<int64_t>>("axes");
  for (int64_t& axis : axes) axis = e.axis_of(node, axis);
  write_permutation(e, node, axes);
}

// From the end, but from in front of the beginning: ONNX takes the first element, NumPy and ours none.
bool begins_outside(Exporter& e, const Node& node, int64_t axis) {
  const Attributes& a = node.attributes;
  const bool may = a.get<int64_t>("step") < 0 && a.get("start", int64_t{0}) < 0 && !a.get("clip_start", false);
  const int64_t size = e.input_type(node, 0).sizes[static_cast<size_t>(axis)];
  Exporter::require(!may || size >= 0 || a.get<int64_t>("start") == -1,
                    "it goes backwards along a dimension of a free size");
  return may && a.get<int64_t>("start") < -size;
}

void write_slice(Exporter& e, const Node& node) {
  const int64_t axis = e.axis_of(node, node.attributes.get<int64_t>("axis"));
  if (begins_outside(e, node, axis)) {
    e.result(node, "Slice", {e.input(node, 0), e.integers({0}), e.integers({0}), e.integers({axis})});
    return;
  }
  e.result(node, "Slice",
           {e.input(node, 0), e.integer_attribute(node, "start"), e.integer_attribute(node, "stop"), e.integers({axis}),
            e.integers({node.attributes.get<int64_t>("step")})});
}

void write_concat(Exporter& e, const Node& node) {
  e.result(node, "Concat", e.operands(node), {{"axis", e.axis_of(node, node.attributes.get<int64_t>("axis"))}});
}

void write_stack(Exporter& e, const Node& node) {
  const int64_t axis = e.axis_of(node, node.attributes.get<int64_t>("axis"), 1);
  std::vector<std::string> parts;
  for (const std::string& part : e.operands(node))
    parts.push_back(e.step(node, "Unsqueeze", {part, e.integers({axis})}));
  e.result(node, "Concat", parts, {{"axis", axis}});
}

// ONNX's keeps x's sizes where the shape has 1; ours where it has -1, or does as ONNX's.
void write_broadcast_to(Exporter& e, const Node& node) {
  std::string shape;
  if (node.attributes.get("both_ways", false) || e.num_operands(node) < node.inputs.size()) {
    shape = e.list_attribute(node, "shape");
  } else {
    auto sizes = node.attributes.get<std::vector<int64_t>>("shape");
    std::ranges::replace(sizes, int64_t{-1}, int64_t{1});
    shape = e.integers(sizes);
  }
  e.result(node, "Expand", {e.input(node, 0), shape});
}

// Of one axis or of a list, which is empty where every axis of size 1 is to go.
void write_squeeze(Exporter& e, const Node& node) {
  std::vector<std::string> inputs{e.input(node, 0)};
  if (node.attributes.contains("axis"))
    inputs.push_back(e.integer_attribute(node, "axis"));
  else if (node.attributes.get("axes", std::vector<int64_t>{0}) != std::vector<int64_t>{})
    inputs.push_back(e.list_attribute(node, "axes"));
  e.result(node, node.target == "squeeze" ? "Squeeze" : "Unsqueeze", inputs);
}

// What the dimensions from start to end become one in. A size of 0 stands for the input's, which is so for those in
// front of them. One size behind them may be free, where theirs are known.
std::vector<int64_t> flattened(const ValueType& x, size_t start, size_t end) {
  std::vector<int64_t> sizes(start, 0);
  int64_t merged = 1;
  for (size_t d = start; d <= end; ++d) merged = merged < 0 || x.sizes[d] < 0 ? -1 : merged * x.sizes[d];
  sizes.push_back(merged);
  for (size_t d = end + 1; d < x.sizes.size(); ++d) sizes.push_back(std::max<int64_t>(x.sizes[d], -1));
  Exporter::require(std::ranges::count(sizes, -1) <= 1, "several sizes of its result are free");
  return sizes;
}

void write_flatten(Exporter& e, const Node& node) {
  const ValueType& x = e.input_type(node, 0);
  if (x.rank() == 0) {
    e.result(node, "Reshape", {e.input(node, 0), e.integers({1})});
    return;
  }
  const auto start = static_cast<size_t>(e.axis_of(node, node.attributes.get<int64_t>("start_dim"))),
             end = static_cast<size_t>(e.axis_of(node, node.attributes.get<int64_t>("end_dim")));
  if (start == end)
    e.result_is(node, e.input(node, 0));
  else if (start == 1 && end + 1 == x.sizes.size())
    e.result(node, "Flatten", {e.input(node, 0)}, {{"axis", int64_t{1}}});
  else
    e.result(node, "Reshape", {e.input(node, 0), e.integers(flattened(x, start, end))});
}

// PyTorch's list, in which the last axis comes first, as ONNX's: all that is in front, then all that is behind.
std::vector<int64_t> pads_of_padding(const std::vector<int64_t>& padding, size_t rank) {
  std::vector<int64_t> pads(2 * rank);
  for (size_t i = 0; i < padding.size() / 2; ++i) {
    pads[rank - 1 - i] = padding[2 * i];
    pads[2 * rank - 1 - i] = padding[2 * i + 1];
  }
  return pads;
}

// A list of axes takes opset 18.
bool has_pad_axes(const Node& node) {
  const std::vector<std::string> computed = nn::attribute_inputs(node);
  return !node.attributes.contains("padding") &&
         (node.attributes.contains("axes") || std::ranges::count(computed, "axes") > 0);
}

int64_t pad_opset(const Exporter&, const Node& node) {
  if (node.attributes.get<std::string>("mode", "constant") == "circular") return 19;
  return has_pad_axes(node) ? 18 : 17;
}

void write_pad(Exporter& e, const Node& node) {
  const std::string mode = node.attributes.get<std::string>("mode", "constant");
  const bool is_onnx = !node.attributes.contains("padding"), has_axes = has_pad_axes(node);
  const size_t rank = e.input_type(node, 0).sizes.size();
  const std::string pads =
      is_onnx ? e.list_attribute(node, "pads")
              : e.integers(pads_of_padding(node.attributes.get<std::vector<int64_t>>("padding"), rank));
  const std::string value =
      e.num_operands(node) > 1 ? e.input(node, 1) : e.number(node.attributes.get("value", 0.0), e.type_of(node).dtype);
  std::vector<std::string> inputs{e.input(node, 0), pads, value};
  if (has_axes) inputs.push_back(e.list_attribute(node, "axes"));
  e.result(node, "Pad", inputs,
           {{"mode", mode == "circular"    ? "wrap"
                     : mode == "replicate" ? "edge"
                                           : std::string(mode)}});
}

// As much as images of this size need: an odd pixel is behind the image, or before it.
void write_pad_same(Exporter& e, const Node& node) {
  const ValueType &x = e.input_type(node, 0), &y = e.type_of(node);
  const size_t dims = x.sizes.size();
  std::vector<int64_t> pads(2 * dims);
  for (size_t d = 2; d < dims; ++d) {
    Exporter::require(x.sizes[d] > 0 && y.sizes[d] > 0, "its image is of a free size");
    const int64_t total = y.sizes[d] - x.sizes[d], small = total / 2;
    const bool is_upper = node.attributes.get<bool>("upper", true);
    pads[d] = is_upper ? small : total - small;
    pads[dims + d] = total - pads[d];
  }
  e.result(node, "Pad", {e.input(node, 0), e.integers(pads), e.number(node.attributes.get("value", 0.0), x.dtype)});
}

void write_gather(Exporter& e, const Node& node) {
  e.result(node, node.target == "gather" ? "GatherElements" : "Gather", e.operands(node),
           {{"axis", e.axis_of(node, node.attributes.get<int64_t>("axis"))}});
}

void write_embedding(Exporter& e, const Node& node) {
  e.result(node, "Gather", {e.input(node, 1), e.input(node, 0)}, {{"axis", int64_t{0}}});
}

void write_upsample(Exporter& e, const Node& node) {
  const auto factor = node.attributes.get<std::vector<int64_t>>("scale_factor");
  const NDArray scales = NDArray::from_vector(
      std::vector<float>{1, 1, static_cast<float>(factor.at(0)), static_cast<float>(factor.at(1))});
  e.result(node, "Resize", {e.input(node, 0), "", e.constant("scales", scales)},
           {{"mode", "nearest"}, {"coordinate_transformation_mode", "asymmetric"}, {"nearest_mode", "floor"}});
}

}  // namespace

void add_shape_exports(ExportHandlers& handlers) {
  const ExportHandlers own{{"broadcast_to", {write_broadcast_to}},
                           {"concat", {write_concat}},
                           {"embedding", {write_embedding}},
                           {"flatten", {write_flatten}},
                           {"gather", {write_gather}},
                           {"index_select", {write_gather}},
                           {"pad", {write_pad, pad_opset}},
                           {"pad_same2d", {write_pad_same}},
                           {"pad_same3d", {write_pad_same}},
                           {"permute", {write_permute}},
                           {"reshape", {write_reshape}},
                           {"shape", {write_shape}},
                           {"slice", {write_slice}},
                           {"squeeze", {write_squeeze}},
                           {"stack", {write_stack}},
                           {"take", {write_gather}},
                           {"transpose", {write_transpose}},
                           {"unsqueeze", {write_squeeze}},
                           {"upsample_nearest2d", {write_upsample}}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
