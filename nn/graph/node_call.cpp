#include <utility>

#include <thimble/nn/graph/attribute_inputs.h>
#include <thimble/nn/graph/node_call.h>

namespace thimble::nn {

namespace {

Attribute attribute_of(const NDArray& value, const std::string& key) {
  const bool is_integer = value.dtype() == DType::int64 || value.dtype() == DType::int32;
  check<DTypeError>(is_integer || is_differentiable(value.dtype()), "the input for the attribute '", key, "' is ",
                    value.dtype(), ", expected integers or floats");
  check<ShapeError>(value.ndim() <= 1, "the input for the attribute '", key, "' has shape ", value.shape(),
                    ", expected a number or a list");
  if (value.ndim() == 1)
    return is_integer ? Attribute(value.to_vector<int64_t>()) : Attribute(value.to_vector<double>());
  return is_integer ? Attribute(value.item<int64_t>()) : Attribute(value.item<double>());
}

}  // namespace

NodeCall::NodeCall(const Graph& graph, const Node& node) : name_(node.name), attributes_(node.attributes) {
  check<ValueError>(node.kind == Node::Kind::layer || node.kind == Node::Kind::op, "graph: '", node.name,
                    "' calls no layer and applies no op");
  if (node.kind == Node::Kind::op) {
    op_ = &op_factory(node.target);
    op_name_ = node.target;
    from_inputs_ = attribute_inputs(node);
    return;
  }
  layer_ = graph.child(node.target);
  check<ValueError>(layer_ != nullptr, "graph: there is no layer '", node.target, "'");
}

NodeCall NodeCall::with_attributes(std::span<const NDArray> values) const {
  NodeCall call = *this;
  call.attributes_ = without_attribute_inputs(attributes_);
  call.from_inputs_.clear();
  detail::named_in_errors(name_, [&] {
    for (size_t i = 0; i < from_inputs_.size(); ++i)
      call.attributes_.set(from_inputs_[i], attribute_of(values[i], from_inputs_[i]));
  });
  return call;
}

Tensor NodeCall::operator()(std::span<const Tensor> inputs) const {
  if (layer_) return layer_->call(inputs);  // which names itself in errors
  if (from_inputs_.empty())
    return detail::named_in_errors(name_, [&] { return apply(make_op(), {inputs.begin(), inputs.end()}); });
  const size_t operands = inputs.size() - from_inputs_.size();
  std::vector<NDArray> values;
  for (const Tensor& input : inputs.subspan(operands)) values.push_back(input.data());
  return with_attributes(values)(inputs.first(operands));
}

}  // namespace thimble::nn
