#include <thimble/nn/graph/node_call.h>

namespace thimble::nn {

NodeCall::NodeCall(const Graph& graph, const Node& node) : name_(node.name), attributes_(node.attributes) {
  check<ValueError>(node.kind == Node::Kind::layer || node.kind == Node::Kind::op, "graph: '", node.name,
                    "' calls no layer and applies no op");
  if (node.kind == Node::Kind::op) {
    op_ = &op_factory(node.target);
    return;
  }
  layer_ = graph.child(node.target);
  check<ValueError>(layer_ != nullptr, "graph: there is no layer '", node.target, "'");
}

Tensor NodeCall::operator()(std::span<const Tensor> inputs) const {
  if (layer_) return layer_->call(inputs);  // which names itself in errors
  return detail::named_in_errors(name_, [&] { return apply(make_op(), {inputs.begin(), inputs.end()}); });
}

}  // namespace thimble::nn
