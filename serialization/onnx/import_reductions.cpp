#include <thimble/serialization/onnx/handlers.h>

namespace thimble::onnx {

namespace {

// Axes are an attribute in older opsets, an input in newer ones: of ReduceSum since 13, of the others since 18.
std::vector<int64_t> axes_of(Importer& importer, const OnnxNode& node) {
  if (node.opset() < (node.op() == "ReduceSum" ? 13 : 18)) return node.integers("axes");
  return importer.has_input(node, 1) ? importer.constant_integers(node, 1, "axes") : std::vector<int64_t>{};
}

template <const char* kOp>
void reduction(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  const std::vector<int64_t> axes = axes_of(importer, node);
  const bool keepdims = node.integer("keepdims", 1) != 0, noop = node.integer("noop_with_empty_axes", 0) != 0;
  if (axes.empty() && noop) return importer.set(node, 0, x);
  const auto removed = axes.empty() ? x.rank : static_cast<int>(axes.size());
  importer.set(
      node, 0,
      importer.apply(node, kOp, {{"axes", axes}, {"keepdim", keepdims}}, {x}, keepdims ? x.rank : x.rank - removed));
}

constexpr char kMean[] = "mean", kSum[] = "sum", kMax[] = "max", kMin[] = "min", kLogSumExp[] = "logsumexp";

}  // namespace

void add_reductions(Handlers& handlers) {
  const Handlers own{{"ReduceLogSumExp", reduction<kLogSumExp>},
                     {"ReduceMax", reduction<kMax>},
                     {"ReduceMean", reduction<kMean>},
                     {"ReduceMin", reduction<kMin>},
                     {"ReduceSum", reduction<kSum>}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
