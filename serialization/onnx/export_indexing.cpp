// Order, indices, and what is rearranged by them.
#include <algorithm>

#include <thimble/serialization/onnx/export_handlers.h>
#include <thimble/serialization/onnx/export_tensors.h>

namespace thimble::onnx {

namespace {

using nn::Node;

int64_t axis_attribute(const Node& node) { return node.attributes.get<int64_t>("axis"); }

// As an input without dimensions.
std::string index_number(Exporter& e, int64_t value) {
  return e.constant("constant.index", NDArray::from_vector(std::vector<int64_t>{value}, Shape{}));
}

void write_arg_extreme(Exporter& e, const Node& node) {
  e.result(node, node.target == "argmax" ? "ArgMax" : "ArgMin", e.operands(node),
           {{"axis", axis_attribute(node)},
            {"keepdims", node.attributes.get("keepdim", false)},
            {"select_last_index", node.attributes.get("select_last_index", false)}});
}

void write_topk_indices(Exporter& e, const Node& node) {
  e.result_is(node, e.steps(node, "TopK", 2, {e.input(node, 0), e.integer_attribute(node, "k")},
                            {{"axis", axis_attribute(node)}, {"largest", node.attributes.get<bool>("largest")}})[1]);
}

void write_cumsum(Exporter& e, const Node& node) {
  e.result(
      node, "CumSum", {e.input(node, 0), e.integer_attribute(node, "axis")},
      {{"exclusive", node.attributes.get("exclusive", false)}, {"reverse", node.attributes.get("reverse", false)}});
}

void write_hardmax(Exporter& e, const Node& node) {
  e.result(node, "Hardmax", e.operands(node), {{"axis", axis_attribute(node)}});
}

void write_tile(Exporter& e, const Node& node) {
  e.result(node, "Tile", {e.input(node, 0), e.list_attribute(node, "repeats")});
}

// Space to depth comes in one order alone.
void write_pixel_shuffle(Exporter& e, const Node& node) {
  const bool up = node.target == "pixel_shuffle", depth_first = node.attributes.get("depth_first", false);
  Exporter::require(up || depth_first, "ONNX has it with 'depth_first' alone");
  Attributes attributes{{"blocksize", node.attributes.get<int64_t>(up ? "upscale_factor" : "downscale_factor")}};
  if (up) attributes.set("mode", depth_first ? "DCR" : "CRD");
  e.result(node, up ? "DepthToSpace" : "SpaceToDepth", e.operands(node), attributes);
}

void write_triangle(Exporter& e, const Node& node) {
  e.result(node, "Trilu", {e.input(node, 0), index_number(e, node.attributes.get("diagonal", int64_t{0}))},
           {{"upper", node.target == "triu"}});
}

// One of the parts, all as large as the first but for the last.
void write_chunk(Exporter& e, const Node& node) {
  const auto chunks = node.attributes.get<int64_t>("chunks"), number = node.attributes.get<int64_t>("number");
  const int64_t axis = e.axis_of(node, axis_attribute(node));
  const int64_t size = e.input_type(node, 0).sizes[static_cast<size_t>(axis)];
  Exporter::require(size >= 0, "it is along a dimension of a free size");
  const int64_t each = size / chunks + (size % chunks != 0);
  e.result(node, "Slice",
           {e.input(node, 0), e.integers({std::min(size, number * each)}),
            e.integers({std::min(size, (number + 1) * each)}), e.integers({axis})});
}

void write_reverse_sequence(Exporter& e, const Node& node) {
  e.result(node, "ReverseSequence", e.operands(node),
           {{"batch_axis", node.attributes.get<int64_t>("batch_axis")},
            {"time_axis", node.attributes.get<int64_t>("time_axis")}});
}

void write_eye_like(Exporter& e, const Node& node) {
  e.result(node, "EyeLike", e.operands(node),
           {{"k", node.attributes.get("diagonal", int64_t{0})}, {"dtype", int64_t{onnx_type(e.type_of(node).dtype)}}});
}

void write_arange(Exporter& e, const Node& node) { e.result(node, "Range", e.operands(node)); }

void write_einsum(Exporter& e, const Node& node) {
  e.result(node, "Einsum", e.operands(node), {{"equation", node.attributes.get<std::string>("equation")}});
}

// ONNX's coordinates lie in columns.
void write_nonzero(Exporter& e, const Node& node) {
  e.result(node, "Transpose", {e.step(node, "NonZero", e.operands(node))}, {{"perm", std::vector<int64_t>{1, 0}}});
}

void write_one_hot(Exporter& e, const Node& node) {
  const std::string values = e.integers({0, 1});
  e.result(node, "OneHot", {e.input(node, 0), e.integer_attribute(node, "num_classes"), values},
           {{"axis", axis_attribute(node)}});
}

std::string onnx_reduction(const Node& node) {
  const auto reduction = node.attributes.get<std::string>("reduction", "none");
  if (reduction == "sum") return "add";
  if (reduction == "prod") return "mul";
  if (reduction == "none") return "none";
  return reduction == "amax" ? "max" : "min";
}

// Maxima and minima since opset 18.
int64_t scatter_opset(const Exporter&, const Node& node) {
  const std::string reduction = onnx_reduction(node);
  return reduction == "max" || reduction == "min" ? 18 : 17;
}

void write_scatter(Exporter& e, const Node& node) {
  e.result(node, "ScatterElements", e.operands(node),
           {{"axis", axis_attribute(node)}, {"reduction", onnx_reduction(node)}});
}

void write_gather_nd(Exporter& e, const Node& node) {
  e.result(node, "GatherND", e.operands(node), {{"batch_dims", node.attributes.get("batch_dims", int64_t{0})}});
}

void write_scatter_nd(Exporter& e, const Node& node) {
  Exporter::require(node.attributes.get("batch_dims", int64_t{0}) == 0, "with batch_dims");
  e.result(node, "ScatterND", e.operands(node), {{"reduction", onnx_reduction(node)}});
}

}  // namespace

void add_indexing_exports(ExportHandlers& handlers) {
  const ExportHandlers own{{"arange", {write_arange}},
                           {"argmax", {write_arg_extreme}},
                           {"argmin", {write_arg_extreme}},
                           {"chunk", {write_chunk}},
                           {"cumsum", {write_cumsum}},
                           {"einsum", {write_einsum}},
                           {"eye_like", {write_eye_like}},
                           {"gather_nd", {write_gather_nd}},
                           {"hardmax", {write_hardmax}},
                           {"nonzero", {write_nonzero}},
                           {"one_hot", {write_one_hot}},
                           {"pixel_shuffle", {write_pixel_shuffle}},
                           {"pixel_unshuffle", {write_pixel_shuffle}},
                           {"reverse_sequence", {write_reverse_sequence}},
                           {"scatter", {write_scatter, scatter_opset}},
                           {"scatter_nd", {write_scatter_nd, scatter_opset}},
                           {"tile", {write_tile}},
                           {"topk_indices", {write_topk_indices}},
                           {"tril", {write_triangle}},
                           {"triu", {write_triangle}}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
