// Reductions over axes, and what is done along one axis.
#include <thimble/serialization/onnx/handlers.h>
#include <thimble/serialization/onnx/shape_values.h>

namespace thimble::onnx {

namespace {

// Axes are an attribute in older opsets, an input in newer ones: of ReduceSum since 13, of the others since 18.
Value axes_of(Importer& importer, const OnnxNode& node) {
  const bool is_attribute = node.opset() < (node.op() == "ReduceSum" ? 13 : 18);
  if (is_attribute) return Importer::integers(node.integers("axes"));
  return importer.has_input(node, 1) ? importer.input(node, 1) : Importer::integers({});
}

struct ReductionOps {
  const char* op;
  const char* before = nullptr;  // what is done to the elements
  const char* after = nullptr;
};

const std::map<std::string, ReductionOps> kReductionOps = {
    {"ReduceL1", {"sum", "abs"}},
    {"ReduceL2", {"sum", "square", "sqrt"}},
    {"ReduceLogSum", {"sum", nullptr, "log"}},
    {"ReduceLogSumExp", {"logsumexp"}},
    {"ReduceMax", {"max"}},
    {"ReduceMean", {"mean"}},
    {"ReduceMin", {"min"}},
    {"ReduceProd", {"prod"}},
    {"ReduceSum", {"sum"}},
    {"ReduceSumSquare", {"sum", "square"}},
};

Value elementwise(Importer& importer, const OnnxNode& node, const char* op, const Value& x) {
  if (!op) return x;
  if (std::string_view(op) == "square") return importer.apply(node, "mul", {}, {x, x});
  return importer.apply(node, op, {}, {x});
}

Value reduced(Importer& importer, const OnnxNode& node, const char* op, const Value& x) {
  const Value axes = axes_of(importer, node);
  const bool keepdims = node.integer("keepdims", 1) != 0, noop = node.integer("noop_with_empty_axes", 0) != 0;
  const int64_t count = axes.constant.defined() ? axes.constant.numel() : axes.length;
  node.require(count >= 0 || keepdims, "nobody knows how many axes it has");
  if (count == 0 && noop) return x;
  node.require(count <= Shape::kMaxDims, "it has ", count, " axes");
  if (axes.constant.defined()) axes_in(node, axes.constant.to_vector<int64_t>(), x.rank);  // which must be sound
  const int removed = count == 0 ? x.rank : static_cast<int>(count);
  Attributes attributes{{"keepdim", keepdims}};
  if (count < 0 && noop) attributes.set("noop_without_axes", true);
  if (std::string_view(op) == "max" || std::string_view(op) == "min") attributes.set("of_nothing", true);
  const int rank = keepdims || x.rank < 0 ? x.rank : x.rank - removed;
  node.require(x.rank < 0 || rank >= 0, "it has more axes than its input dimensions");
  return importer.apply_with(node, op, attributes, {x}, {{"axes", axes}}, rank);
}

void reduction(Importer& importer, const OnnxNode& node) {
  const auto& [op, before, after] = kReductionOps.at(node.op());
  const Value x = elementwise(importer, node, before, importer.input(node, 0));
  importer.set(node, 0, elementwise(importer, node, after, reduced(importer, node, op, x)));
}

void arg_extreme(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  const bool keepdims = node.integer("keepdims", 1) != 0;
  const Attributes attributes{{"axis", node.integer("axis", 0)},
                              {"keepdim", keepdims},
                              {"select_last_index", node.integer("select_last_index", 0) != 0}};
  const char* op = node.op() == "ArgMax" ? "argmax" : "argmin";
  importer.set(node, 0, importer.apply(node, op, attributes, {x}, keepdims || x.rank < 0 ? x.rank : x.rank - 1));
}

void cum_sum(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  const Attributes attributes{{"exclusive", node.integer("exclusive", 0) != 0},
                              {"reverse", node.integer("reverse", 0) != 0}};
  importer.set(
      node, 0,
      importer.apply_with(node, "cumsum", attributes, {x}, {{"axis", number_input(importer, node, 1)}}, x.rank));
}

// Over the batch and all pixels, as a rule.
void mean_variance_normalization(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  const std::vector<int64_t> axes = axes_in(node, node.integers("axes", {0, 2, 3}), x.rank);
  const Attributes attributes{{"axes", axes}, {"keepdim", true}};
  Attributes of_population = attributes;
  of_population.set("correction", int64_t{0});
  const Value centered = importer.apply(node, "sub", {}, {x, importer.apply(node, "mean", attributes, {x})});
  const Value deviation = importer.apply(node, "sqrt", {}, {importer.apply(node, "var", of_population, {x})});
  const Value divisor = importer.apply(node, "add", {}, {deviation, Importer::number(1e-9)});
  importer.set(node, 0, importer.apply(node, "div", {}, {centered, divisor}));
}

// The largest first, whether or not they need to be sorted.
void top_k(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  const Attributes attributes{{"axis", node.integer("axis", -1)}, {"largest", node.integer("largest", 1) != 0}};
  node.integer("sorted", 1);
  const Value k = node.opset() < 10 ? Importer::index(node.integer("k", -1)) : number_input(importer, node, 1);
  const Value indices = importer.apply_with(node, "topk_indices", attributes, {x}, {{"k", k}}, x.rank);
  importer.set(node, 0, importer.apply(node, "gather", {{"axis", node.integer("axis", -1)}}, {x, indices}));
  importer.set(node, 1, indices);
}

}  // namespace

void add_reductions(Handlers& handlers) {
  const Handlers own{{"ArgMax", arg_extreme},
                     {"ArgMin", arg_extreme},
                     {"CumSum", cum_sum},
                     {"MeanVarianceNormalization", mean_variance_normalization},
                     {"TopK", top_k}};
  handlers.insert(own.begin(), own.end());
  for (const auto& [name, reduction_ops] : kReductionOps) handlers.emplace(name, reduction);
}

}  // namespace thimble::onnx
