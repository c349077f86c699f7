// Sums, means, extremes.
#include <thimble/serialization/onnx/export_handlers.h>
#include <thimble/serialization/onnx/export_reductions.h>

namespace thimble::onnx {

ReductionCall::ReductionCall(Exporter& e, const std::string& op_type, const std::string& x,
                             const std::vector<int64_t>& axes, bool keepdim)
    : op(op_type), inputs{x}, attributes{{"keepdims", keepdim}} {
  if (axes.empty()) return;
  if (op == "ReduceSum" || e.opset() >= 18)
    inputs.push_back(e.integers(axes));
  else
    attributes.set("axes", axes);
}

namespace {

using nn::Node;

struct Reduction {
  const char *op, *onnx;
};
constexpr Reduction kReductions[] = {{"sum", "ReduceSum"}, {"mean", "ReduceMean"}, {"max", "ReduceMax"},
                                     {"min", "ReduceMin"}, {"prod", "ReduceProd"}, {"logsumexp", "ReduceLogSumExp"}};

std::vector<int64_t> axes_of_reduction(const Node& node) { return node.attributes.get("axes", std::vector<int64_t>{}); }

void write_reduction(Exporter& e, const Node& node) {
  std::string op;
  for (const Reduction& reduction : kReductions)
    if (node.target == reduction.op) op = reduction.onnx;
  ReductionCall(e, op, e.input(node, 0), axes_of_reduction(node), node.attributes.get("keepdim", false))
      .result(e, node);
}

// How many elements are reduced to one.
int64_t reduced_elements(const Exporter& e, const Node& node, const std::vector<int64_t>& axes) {
  const ValueType& x = e.input_type(node, 0);
  int64_t count = 1;
  for (size_t d = 0; d < x.sizes.size(); ++d) {
    bool is_reduced = axes.empty();
    for (const int64_t axis : axes) is_reduced |= e.axis_of(node, axis) == static_cast<int64_t>(d);
    Exporter::require(!is_reduced || x.sizes[d] >= 0, "it is over a dimension of a free size");
    if (is_reduced) count *= x.sizes[d];
  }
  return count;
}

// The mean of squared differences from the mean or, with a correction, their sum over their number less that.
void write_var(Exporter& e, const Node& node) {
  const std::vector<int64_t> axes = axes_of_reduction(node);
  const std::string x = e.input(node, 0);
  const std::string mean = ReductionCall(e, "ReduceMean", x, axes, true).step(e, node);
  const std::string difference = e.step(node, "Sub", {x, mean});
  const std::string square = e.step(node, "Mul", {difference, difference});
  const bool keepdim = node.attributes.get("keepdim", false);
  const auto correction = node.attributes.get("correction", int64_t{1});
  if (correction == 0) return ReductionCall(e, "ReduceMean", square, axes, keepdim).result(e, node);
  const std::string sum = ReductionCall(e, "ReduceSum", square, axes, keepdim).step(e, node);
  const int64_t divisor = reduced_elements(e, node, axes) - correction;
  e.result(node, "Div", {sum, e.number(static_cast<double>(divisor), e.type_of(node).dtype)});
}

}  // namespace

void add_reduction_exports(ExportHandlers& handlers) {
  for (const Reduction& reduction : kReductions) handlers[reduction.op] = {write_reduction};
  handlers["var"] = {write_var};
}

}  // namespace thimble::onnx
