// Reading and writing by indices.
#include <algorithm>

#include <thimble/serialization/onnx/handlers.h>
#include <thimble/serialization/onnx/shape_values.h>

namespace thimble::onnx {

namespace {

// One slice that is known by its number is a view. 0 and -1 are in range wherever there is anything.
bool is_view(const NDArray& index) {
  if (!index.defined() || index.numel() != 1 || index.ndim() > 1) return false;
  const auto i = index.reshape({}).item<int64_t>();
  return index.ndim() == 0 || i == 0 || i == -1;
}

void gather(Importer& importer, const OnnxNode& node) {
  const Value &x = importer.input(node, 0), &index = importer.input(node, 1);
  const int64_t axis = axis_in(node, node.integer("axis", 0), x.rank);
  if (is_view(index.constant) && x.rank >= 0) {
    const auto i = index.constant.reshape({}).item<int64_t>();
    node.require(i != kEnd, "its index ", i, " is out of range");
    Value part = slice_of(importer, node, x, axis, i, i == -1 ? kEnd : i + 1);
    if (index.rank == 0) return importer.set(node, 0, squeezed(importer, node, part, axis));
    if (x.rank == 1 && !part.constant.defined()) part.length = 1;
    return importer.set(node, 0, part);
  }
  const bool is_known = x.rank >= 0 && index.rank >= 0;
  Value y = importer.apply(node, "take", {{"axis", axis}}, {x, index}, is_known ? x.rank - 1 + index.rank : -1);
  if (!is_known) y = of_unknown_rank(y);
  if (x.rank == 1 && index.rank == 1 && !y.constant.defined())
    y.length = index.constant.defined() ? index.constant.numel() : index.length;
  importer.set(node, 0, y);
}

void gather_elements(Importer& importer, const OnnxNode& node) {
  const Attributes attributes{{"axis", node.integer("axis", 0)}, {"wrap", true}};
  importer.set(node, 0, importer.apply(node, "gather", attributes, {importer.input(node, 0), importer.input(node, 1)}));
}

void gather_nd(Importer& importer, const OnnxNode& node) {
  const Value &x = importer.input(node, 0), &index = importer.input(node, 1);
  const int64_t batch_dims = node.integer("batch_dims", 0);
  node.require(batch_dims >= 0 && batch_dims <= Shape::kMaxDims, "its batch_dims is ", batch_dims, ", expected 0 to ",
               Shape::kMaxDims);
  const Value y = importer.apply(node, "gather_nd", {{"batch_dims", batch_dims}}, {x, index});
  if (!index.constant.defined() || index.rank == 0 || y.constant.defined())
    return importer.set(node, 0, of_unknown_rank(y));
  node.require(index.constant.shape(-1) <= Shape::kMaxDims, "its indices have ", index.constant.shape(-1), " entries");
  Value known = y;
  known.rank = index.rank - 1 + x.rank - static_cast<int>(batch_dims + index.constant.shape(-1));
  importer.set(node, 0, x.rank < 0 || known.rank < 0 ? of_unknown_rank(y) : known);
}

std::string reduction_of(const OnnxNode& node) {
  static const std::map<std::string, std::string> reductions = {
      {"none", "none"}, {"add", "sum"}, {"mul", "prod"}, {"max", "amax"}, {"min", "amin"}};
  const auto reduction = reductions.find(node.text("reduction", "none"));
  node.require(reduction != reductions.end(), "its attribute 'reduction' is none of none, add, mul, max and min");
  return reduction->second;
}

void scatter(Importer& importer, const OnnxNode& node, const char* op, Attributes attributes) {
  attributes.set("reduction", reduction_of(node));
  const Value& x = importer.input(node, 0);
  importer.set(node, 0,
               importer.apply(node, op, attributes, {x, importer.input(node, 1), importer.input(node, 2)}, x.rank));
}

void scatter_elements(Importer& importer, const OnnxNode& node) {
  scatter(importer, node, "scatter", {{"axis", node.integer("axis", 0)}});
}

void scatter_nd(Importer& importer, const OnnxNode& node) { scatter(importer, node, "scatter_nd", {}); }

// The second of two values where the class is, the first elsewhere.
void one_hot(Importer& importer, const OnnxNode& node) {
  const Value &index = importer.input(node, 0), &values = importer.input(node, 2);
  const Value depth =
      importer.apply(node, "cast", {{"dtype", std::string("int64")}}, {number_input(importer, node, 1)});
  const int rank = index.rank < 0 ? -1 : index.rank + 1;
  const Value ones = importer.apply_with(node, "one_hot", {{"axis", node.integer("axis", -1)}}, {index},
                                         {{"num_classes", depth}}, rank);
  const Value is_on = importer.apply(node, "cast", {{"dtype", std::string("bool")}}, {ones});
  importer.set(node, 0,
               importer.apply(node, "where", {},
                              {is_on, entry(importer, node, values, 1), entry(importer, node, values, 0)}, rank));
}

// Coordinates as columns.
void non_zero(Importer& importer, const OnnxNode& node) {
  Value x = importer.input(node, 0);
  if (x.rank == 0) x = importer.apply(node, "unsqueeze", {{"axis", int64_t{0}}}, {x}, 1);
  const Value rows = importer.apply(node, "nonzero", {}, {x}, 2);
  importer.set(node, 0, importer.apply(node, "transpose", {{"axis0", int64_t{0}}, {"axis1", int64_t{1}}}, {rows}));
}

// Without an axis it is of all elements.
void compress(Importer& importer, const OnnxNode& node) {
  Value x = importer.input(node, 0);
  const bool has_axis = node.has("axis");
  if (!has_axis) x = importer.apply(node, "flatten", {{"start_dim", int64_t{0}}, {"end_dim", int64_t{-1}}}, {x}, 1);
  const Value rows = importer.apply(node, "nonzero", {}, {importer.input(node, 1)}, 2);
  const Value chosen = squeezed(importer, node, rows, 1);
  const Attributes attributes{{"axis", has_axis ? node.integer("axis", 0) : 0}};
  importer.set(node, 0, importer.apply(node, "take", attributes, {x, chosen}, x.rank));
}

}  // namespace

void add_indexing(Handlers& handlers) {
  const Handlers own{{"Compress", compress},
                     {"Gather", gather},
                     {"GatherElements", gather_elements},
                     {"GatherND", gather_nd},
                     {"NonZero", non_zero},
                     {"OneHot", one_hot},
                     {"Scatter", scatter_elements},
                     {"ScatterElements", scatter_elements},
                     {"ScatterND", scatter_nd}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
