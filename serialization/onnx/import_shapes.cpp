// What moves elements, or repeats them.
#include <algorithm>
#include <cmath>
#include <numeric>

#include <thimble/serialization/onnx/handlers.h>
#include <thimble/serialization/onnx/shape_values.h>

namespace thimble::onnx {

namespace {

// An attribute in opsets before `since`, input 1 from there on, which may be computed; empty if it is in neither.
Value list_of(Importer& importer, const OnnxNode& node, int64_t since, const char* key) {
  if (node.opset() < since) return Importer::integers(node.integers(key));
  return importer.has_input(node, 1) ? importer.input(node, 1) : Importer::integers({});
}

// The sizes are an attribute before opset 5.
void reshape(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  const Value sizes = node.opset() < 5 ? Importer::integers(node.integers("shape")) : importer.input(node, 1);
  Attributes attributes;
  if (node.integer("allowzero", 0) == 0) attributes.set("zero_copies", true);
  Value y = importer.apply_with(node, "reshape", attributes, {x}, {{"shape", sizes}}, length_of(node, sizes));
  const bool is_list = y.rank == 1 && !y.constant.defined() && sizes.constant.defined();
  if (is_list && sizes.constant.item<int64_t>() > 0) y.length = sizes.constant.item<int64_t>();
  importer.set(node, 0, y);
}

Value merged(Importer& importer, const OnnxNode& node, const Value& x, int64_t first, int64_t last, int rank) {
  return importer.apply(node, "flatten", {{"start_dim", first}, {"end_dim", last}}, {x}, rank);
}

// Two dimensions: those before the axis as one, and the others.
void flatten(Importer& importer, const OnnxNode& node) {
  Value x = importer.input(node, 0);
  const int64_t given = node.integer("axis", 1);
  node.require(x.rank >= 0, "nobody knows how many dimensions its input has");
  const int64_t axis = given == x.rank ? given : axis_in(node, given, x.rank);
  if (axis == 0 || axis == x.rank) {
    const Value all = merged(importer, node, x, 0, -1, 1);
    return importer.set(node, 0, importer.apply(node, "unsqueeze", {{"axis", int64_t{axis == 0 ? 0 : 1}}}, {all}, 2));
  }
  if (axis > 1) x = merged(importer, node, x, 0, axis - 1, x.rank - static_cast<int>(axis) + 1);
  if (x.rank > 2) x = merged(importer, node, x, 1, -1, 2);
  importer.set(node, 0, x);
}

void transpose(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  node.require(x.rank >= 0 || node.has("perm"), "nobody knows how many dimensions its input has");
  std::vector<int64_t> reversed(static_cast<size_t>(std::max(x.rank, 0)));
  std::iota(reversed.rbegin(), reversed.rend(), int64_t{0});
  const std::vector<int64_t> axes = node.integers("perm", reversed);
  const auto count = static_cast<int>(std::min<size_t>(axes.size(), Shape::kMaxDims + 1));
  node.require(count <= Shape::kMaxDims && (x.rank < 0 || count == x.rank), "its attribute 'perm' has ", axes.size(),
               " entries, expected one for each dimension");
  importer.set(node, 0, importer.apply(node, "permute", {{"axes", axes_in(node, axes, count)}}, {x}));
}

// Without axes every size of 1 goes.
void squeeze(Importer& importer, const OnnxNode& node) {
  Value x = importer.input(node, 0);
  const Value axes = list_of(importer, node, 13, "axes");
  const int count = length_of(node, axes);
  if (count == 0 || x.rank < 0)
    return importer.set(node, 0, of_unknown_rank(importer.apply_with(node, "squeeze", {}, {x}, {{"axes", axes}}, -1)));
  node.require(count <= x.rank, "it has ", count, " axes of ", x.rank, " dimensions");
  if (!axes.constant.defined())
    return importer.set(node, 0, importer.apply_with(node, "squeeze", {}, {x}, {{"axes", axes}}, x.rank - count));
  std::vector<int64_t> known = axes_in(node, axes.constant.to_vector<int64_t>(), x.rank);
  std::ranges::sort(known, std::greater());
  for (const int64_t axis : known) x = squeezed(importer, node, x, axis);
  importer.set(node, 0, x);
}

void unsqueeze(Importer& importer, const OnnxNode& node) {
  Value x = importer.input(node, 0);
  const Value axes = list_of(importer, node, 13, "axes");
  const int count = length_of(node, axes), rank = x.rank < 0 ? -1 : x.rank + count;
  if (!axes.constant.defined() || x.rank < 0)
    return importer.set(node, 0, importer.apply_with(node, "unsqueeze", {}, {x}, {{"axes", axes}}, rank));
  std::vector<int64_t> known = axes_in(node, axes.constant.to_vector<int64_t>(), rank);
  std::ranges::sort(known);
  const bool becomes_list = x.rank == 0 && count == 1;
  for (const int64_t axis : known) x = importer.apply(node, "unsqueeze", {{"axis", axis}}, {x}, x.rank + 1);
  if (becomes_list && !x.constant.defined()) x.length = 1;
  importer.set(node, 0, x);
}

void expand(Importer& importer, const OnnxNode& node) {
  const Value &x = importer.input(node, 0), &sizes = importer.input(node, 1);
  const int length = sizes.constant.defined() || sizes.length >= 0 ? length_of(node, sizes) : -1;
  const Value y = importer.apply_with(node, "broadcast_to", {{"both_ways", true}}, {x}, {{"shape", sizes}},
                                      std::max(x.rank, length));
  importer.set(node, 0, length < 0 || x.rank < 0 ? of_unknown_rank(y) : y);
}

void tile(Importer& importer, const OnnxNode& node) {
  const Value &x = importer.input(node, 0), &repeats = importer.input(node, 1);
  importer.set(node, 0, importer.apply_with(node, "tile", {}, {x}, {{"repeats", repeats}}, x.rank));
}

void depth_to_space(Importer& importer, const OnnxNode& node) {
  const std::string mode = node.text("mode", "DCR");
  node.require(mode == "DCR" || mode == "CRD", "its attribute 'mode' is neither DCR nor CRD");
  const Attributes attributes{{"upscale_factor", node.integer("blocksize", 0)}, {"depth_first", mode == "DCR"}};
  importer.set(node, 0, importer.apply(node, "pixel_shuffle", attributes, {importer.input(node, 0)}));
}

void space_to_depth(Importer& importer, const OnnxNode& node) {
  const Attributes attributes{{"downscale_factor", node.integer("blocksize", 0)}, {"depth_first", true}};
  importer.set(node, 0, importer.apply(node, "pixel_unshuffle", attributes, {importer.input(node, 0)}));
}

void trilu(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  const char* op = node.integer("upper", 1) != 0 ? "triu" : "tril";
  const Value k = importer.has_input(node, 1) ? number_input(importer, node, 1) : Importer::index(0);
  importer.set(node, 0, importer.apply_with(node, op, {}, {x}, {{"diagonal", k}}, x.rank));
}

void reverse_sequence(Importer& importer, const OnnxNode& node) {
  const Attributes attributes{{"batch_axis", node.integer("batch_axis", 1)},
                              {"time_axis", node.integer("time_axis", 0)}};
  const Value &x = importer.input(node, 0), &lengths = importer.input(node, 1);
  importer.set(node, 0, importer.apply(node, "reverse_sequence", attributes, {x, lengths}, x.rank));
}

std::string pad_mode_of(const OnnxNode& node) {
  static const std::map<std::string, std::string> kModes = {
      {"constant", "constant"}, {"reflect", "reflect"}, {"edge", "replicate"}, {"wrap", "circular"}};
  const auto mode = kModes.find(node.text("mode", "constant"));
  node.require(mode != kModes.end(), "its attribute 'mode' is none of constant, reflect, edge and wrap");
  return mode->second;
}

// The value is an attribute where it is known, and a double holds it.
void add_pad_value(const Value& value, Attributes& attributes, std::vector<Value>& operands) {
  constexpr double kExact = 9007199254740992;
  const NDArray& known = value.constant;
  const double number = known.defined() && known.numel() == 1 ? known.item<double>() : std::nan("");
  if (std::abs(number) <= kExact)
    attributes.set("value", number);
  else
    operands.push_back(known.defined() ? Importer::known(known.clone()) : value);
}

void pad(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  const bool has_attributes = node.opset() < 11;
  const Value pads = has_attributes ? Importer::integers(node.integers("pads")) : importer.input(node, 1);
  Attributes attributes{{"mode", pad_mode_of(node)}};
  std::vector<Value> operands{x};
  if (has_attributes)
    add_pad_value(Importer::number(node.number("value", 0)), attributes, operands);
  else if (importer.has_input(node, 2))
    add_pad_value(importer.input(node, 2), attributes, operands);
  std::vector<std::pair<std::string, Value>> values{{"pads", pads}};
  if (!has_attributes && importer.has_input(node, 3)) values.emplace_back("axes", importer.input(node, 3));
  importer.set(node, 0, importer.apply_with(node, "pad", attributes, operands, values, x.rank));
}

}  // namespace

void add_shapes(Handlers& handlers) {
  const Handlers own{{"DepthToSpace", depth_to_space},
                     {"Expand", expand},
                     {"Flatten", flatten},
                     {"Pad", pad},
                     {"Reshape", reshape},
                     {"ReverseSequence", reverse_sequence},
                     {"SpaceToDepth", space_to_depth},
                     {"Squeeze", squeeze},
                     {"Tile", tile},
                     {"Transpose", transpose},
                     {"Trilu", trilu},
                     {"Unsqueeze", unsqueeze}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
