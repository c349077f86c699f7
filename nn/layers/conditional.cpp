#include <algorithm>
#include <utility>

#include <thimble/nn/inference/inference.h>
#include <thimble/nn/inference/step_list.h>
#include <thimble/nn/layers/conditional.h>

namespace thimble::nn {

namespace {

const LayerRegistration conditional_registration{
    "Conditional", [](const Attributes& a) {
      return std::make_shared<Conditional>(
          Conditional::Inputs{a.get<std::vector<int64_t>>("then_inputs"), a.get<std::vector<int64_t>>("else_inputs")});
    }};

bool is_true(const NDArray& condition) {
  check<ShapeError>(condition.numel() == 1, "Conditional: the condition must have one element, got ",
                    condition.shape());
  return condition.reshape({1}).to(DType::bool_).item<bool>();
}

template <typename T>
std::vector<T> chosen(std::span<const T> inputs, const std::vector<int64_t>& numbers) {
  std::vector<T> own;
  for (const int64_t i : numbers) {
    check<ValueError>(i < static_cast<int64_t>(inputs.size()), "Conditional: a graph reads input ", i, ", got ",
                      inputs.size(), " inputs");
    own.push_back(inputs[static_cast<size_t>(i)]);
  }
  return own;
}

// A graph and which inputs of the layer it reads.
struct Branch {
  std::shared_ptr<Graph> graph;
  std::vector<int64_t> inputs;

  Tensor operator()(std::span<const Tensor> all) const {
    const std::vector<Tensor> own = chosen(all, inputs);
    return graph->call(own);
  }
  // What it gives for such inputs, as its steps have it. Throws where that depends on values that are not known, and
  // what its nodes say against the inputs.
  ValueInfo output(std::span<const ValueInfo> all) const {
    std::vector<ValueInfo> own;
    for (const ValueInfo& info : chosen(all, inputs))
      own.push_back({.shape = info.shape, .dtype = info.dtype, .value = info.value});
    SharedState unshared;
    const StepList list = make_steps(*graph, own, unshared);
    return list.values[list.outputs[0].value].info.as_usual();
  }
};

class ConditionalStep : public InferenceStep {
 public:
  ConditionalStep(const ValueInfo& output, Branch then_branch, Branch else_branch, std::span<const ValueInfo> inputs)
      : InferenceStep(output),
        then_(std::move(then_branch)),
        else_(std::move(else_branch)),
        inputs_(inputs.begin(), inputs.end()) {}

  bool is_per_sample() const override { return false; }

  void run(std::span<const void* const> inputs, void* output, uint8_t*) const override {
    std::vector<Tensor> arguments;
    for (size_t i = 0; i < inputs.size(); ++i) arguments.emplace_back(array_over(inputs[i], inputs_[i]));
    const Tensor y = (is_true(arguments[0].data()) ? then_ : else_)(arguments);
    check<ShapeError>(y.shape() == this->output().shape, "Conditional: a graph gives shape ", y.shape(), ", expected ",
                      this->output().shape);
    array_over(output, this->output()).copy_from(y.data());
  }

 private:
  Branch then_, else_;
  std::vector<ValueInfo> inputs_;
};

void check_branch(const Graph& graph, const std::vector<int64_t>& inputs) {
  graph.verify();
  check<ValueError>(graph.inputs().size() == inputs.size(), "Conditional: a graph takes ", graph.inputs().size(),
                    " inputs, got numbers of ", inputs.size());
  check<ValueError>(std::ranges::all_of(inputs, [](int64_t i) { return i >= 0; }),
                    "Conditional: the number of an input is negative");
}

}  // namespace

Conditional::Conditional(Graph then_graph, Graph else_graph, Inputs inputs)
    : then_(std::make_shared<Graph>(std::move(then_graph))),
      else_(std::make_shared<Graph>(std::move(else_graph))),
      inputs_(std::move(inputs)) {
  check_branch(*then_, inputs_.of_then);
  check_branch(*else_, inputs_.of_else);
  register_module("then", then_);
  register_module("else", else_);
}

Tensor Conditional::forward_all(std::span<const Tensor> inputs) {
  check<ValueError>(then_ && else_, "Conditional: has no graphs");
  check<ValueError>(!inputs.empty(), "Conditional: there is no condition");
  return is_true(inputs[0].data()) ? Branch{then_, inputs_.of_then}(inputs) : Branch{else_, inputs_.of_else}(inputs);
}

// Where the graphs give one thing, whatever the values. Else, and where one of them says something against the inputs,
// which matters only if it runs, there is no step, and the graph around this one runs node by node.
std::unique_ptr<InferenceStep> Conditional::inference_step(std::span<const ValueInfo> inputs) const {
  check<ValueError>(then_ && else_, "Conditional: has no graphs");
  check<ValueError>(!inputs.empty(), "Conditional: there is no condition");
  if (!std::ranges::all_of(inputs, &ValueInfo::lies_as_usual)) return nullptr;
  const Branch then_branch{then_, inputs_.of_then}, else_branch{else_, inputs_.of_else};
  const NDArray& condition = inputs[0].value;
  const ValueInfo output = (condition.defined() && !is_true(condition) ? else_branch : then_branch).output(inputs);
  if (!condition.defined() && else_branch.output(inputs) != output) return nullptr;
  return std::make_unique<ConditionalStep>(output, then_branch, else_branch, inputs);
}

bool Conditional::has_side_effects() const {
  const auto has = [](const auto& child) { return child.second->has_side_effects(); };
  if (!then_ || !else_) return false;
  return std::ranges::any_of(then_->children(), has) || std::ranges::any_of(else_->children(), has);
}

Attributes Conditional::attributes() const {
  return {{"then_inputs", inputs_.of_then}, {"else_inputs", inputs_.of_else}};
}

std::vector<const Graph*> Conditional::graphs() const {
  if (!then_ || !else_) return {};
  return {then_.get(), else_.get()};
}

std::shared_ptr<Module> Conditional::with_graphs(std::vector<Graph> graphs) const {
  check<ValueError>(graphs.size() == 2, "Conditional: has 2 graphs, got ", graphs.size());
  return std::make_shared<Conditional>(std::move(graphs[0]), std::move(graphs[1]), inputs_);
}

}  // namespace thimble::nn
