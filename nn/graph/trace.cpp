#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include <thimble/core/autocast.h>
#include <thimble/nn/graph/sample.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/training/eval_mode.h>

namespace thimble::nn {

namespace {

// What one run of the model did.
struct Record {
  struct Event {
    Node::Kind kind;
    std::string name;    // wanted node name
    std::string target;  // layer path or op name
    Attributes attributes;
    std::vector<size_t> inputs;  // events
    Tensor value;
    bool from_input = false;  // depends on the model's input
  };
  std::vector<Event> events;
  std::vector<size_t> outputs;
};

bool same_values(const NDArray& a, const NDArray& b) {
  if (a.shape() != b.shape() || a.dtype() != b.dtype()) return false;
  const NDArray x = a.contiguous(), y = b.contiguous();
  return x.numel() == 0 || std::memcmp(x.raw(), y.raw(), static_cast<size_t>(x.nbytes())) == 0;
}

class Tracer : public ApplyListener, public CallListener, public ReadListener {
 public:
  Tracer(Module& model, std::span<const Tensor> inputs) : model_(model) {
    for (const auto& [path, module] : model.named_modules()) paths_[module] = path;
    for (const auto& [path, tensor] : model.state()) tensors_[tensor.id()] = path;
    for (size_t i = 0; i < inputs.size(); ++i)
      add({Node::Kind::input, inputs.size() == 1 ? "input" : str("input", i), "", {}, {}, inputs[i], true});
  }

  // The values of the model's input, and what was computed from them, may outlive the tracer.
  ~Tracer() override {
    for (const Record::Event& event : record_.events) event.value.set_read_listener(nullptr);
  }

  Record run(std::span<const Tensor> inputs) {
    const Listening listening(this);
    const std::vector<Tensor> outputs =
        model_.is_layer() ? std::vector{call_layer(model_, "", inputs)} : model_.forward_outputs(inputs);
    check<ValueError>(!outputs.empty(), "trace: the model has no output");
    for (const Tensor& output : outputs) {
      const auto found = event_of_.find(output.id());
      check<ValueError>(found != event_of_.end() && record_.events[found->second].from_input,
                        "trace: the model's output was computed outside of Thimble's ops");
      record_.outputs.push_back(found->second);
    }
    for (const Record::Event& event : record_.events) event.value.set_read_listener(nullptr);
    return std::move(record_);
  }

  void on_read(const Tensor& tensor, bool by_op) override {
    const bool in_layer = call_listener() != this;
    if (by_op || in_layer) return;  // which the graph will do, too
    throw ValueError(str("trace: what the model computes depends on its input's values: those of '",
                         record_.events[event_of_.at(tensor.id())].name,
                         "' are read outside of Thimble's ops and layers (data(), item(), detach()), and the graph ",
                         "would keep what follows from the example's; use ops, such as where() for a choice, and ",
                         "Tensor::shape() for sizes"));
  }

  void on_apply(const Op& op, std::span<const Tensor> inputs, const Tensor& output) override {
    const std::string name(op.name());
    add({Node::Kind::op, path_.empty() ? name : path_ + '.' + name, name, op.attributes(), events_of(inputs), output,
         false});
  }

  Tensor on_call(Module& module, std::span<const Tensor> inputs) override {
    const std::string& path = path_of(module);
    return module.is_layer() ? call_layer(module, path, inputs)
                             : call_container(path, [&] { return module.forward_all(inputs); });
  }

  std::vector<Tensor> on_call_outputs(Module& module, std::span<const Tensor> inputs) override {
    if (module.is_layer()) return {on_call(module, inputs)};
    return call_container(path_of(module), [&] { return module.forward_outputs(inputs); });
  }

 private:
  // Ops and calls of modules on this thread are heard while it lives, or not, for a null tracer.
  class Listening {
   public:
    explicit Listening(Tracer* tracer)
        : apply_before_(set_apply_listener(tracer)), call_before_(set_call_listener(tracer)) {}
    ~Listening() {
      set_apply_listener(apply_before_);
      set_call_listener(call_before_);
    }
    Listening(const Listening&) = delete;
    Listening& operator=(const Listening&) = delete;

   private:
    ApplyListener* apply_before_;
    CallListener* call_before_;
  };

  const std::string& path_of(const Module& module) const {
    const auto found = paths_.find(&module);
    check<ValueError>(found != paths_.end(), "trace: a module", module.is_layer() ? " of type " + module.type() : "",
                      " was called that is not registered with the model or one of its modules");
    return found->second;
  }

  Tensor call_layer(Module& layer, const std::string& path, std::span<const Tensor> inputs) {
    const std::vector<size_t> sources = events_of(inputs);
    Tensor output;
    {
      const Listening none(nullptr);
      output = layer.forward_all(inputs);
      // A layer that hands its input on (dropout in evaluation mode) still is a node: give its output an identity.
      if (event_of_.contains(output.id())) output = output.detach();
    }
    add({Node::Kind::layer, path.empty() ? layer.type() : path, path, {}, sources, output, false});
    return output;
  }

  template <typename Call>
  std::invoke_result_t<Call> call_container(const std::string& path, Call&& call) {
    const std::string outer = std::exchange(path_, path);
    const size_t first = record_.events.size();
    auto output = call();
    path_ = outer;
    // A module that is one op (ReLU) lends it its name.
    if (record_.events.size() == first + 1 && record_.events.back().kind == Node::Kind::op)
      record_.events.back().name = path;
    return output;
  }

  void add(Record::Event event) {
    event.from_input = event.kind == Node::Kind::input || std::ranges::any_of(event.inputs, [&](size_t input) {
                         return record_.events[input].from_input;
                       });
    if (event.from_input) event.value.set_read_listener(this);
    event_of_[event.value.id()] = record_.events.size();
    record_.events.push_back(std::move(event));
  }

  std::vector<size_t> events_of(std::span<const Tensor> inputs) {
    std::vector<size_t> events;
    for (const Tensor& input : inputs) {
      if (!event_of_.contains(input.id())) {
        const auto found = tensors_.find(input.id());
        const std::string path = found == tensors_.end() ? "" : found->second;
        add({Node::Kind::tensor, path.empty() ? "constant" : path, path, {}, {}, input, false});
      }
      events.push_back(event_of_.at(input.id()));
    }
    return events;
  }

  Module& model_;
  Record record_;  // keeps every value alive, so that no id is used twice
  std::unordered_map<const void*, size_t> event_of_;
  std::unordered_map<const Module*, std::string> paths_;
  std::unordered_map<const void*, std::string> tensors_;
  std::string path_;
};

Record record(Module& model, std::span<const Tensor> inputs) { return Tracer(model, inputs).run(inputs); }

// Other values of the same kind: the example's own in reverse order, and for floats moved a little.
Tensor other_values(const Tensor& example) {
  NDArray reversed = example.data().clone().reshape({-1});
  if (reversed.numel() == 0) return reversed.reshape(example.shape());
  reversed = reversed.slice(0, -1, -reversed.numel() - 1, -1).clone().reshape(example.shape());
  if (is_differentiable(reversed.dtype())) {
    dispatch_float(reversed.dtype(), "trace", [&](auto tag) {
      using T = typename decltype(tag)::type;
      T* p = reversed.data<T>();
      const NDArray original = example.data().contiguous();
      for (int64_t i = 0; i < reversed.numel(); ++i) {
        p[i] = p[i] * T(0.75) + T(0.0625) * static_cast<T>(1 + i % 3);
        if (p[i] == original.data<T>()[i]) p[i] += T(0.5);
      }
    });
  }
  return reversed;
}

// The model on other values. Where integers in another order are none that it takes (offsets of bags descend then),
// theirs stay as they are.
Record record_on_others(Module& model, std::span<const Tensor> inputs) {
  std::vector<Tensor> others;
  for (const Tensor& input : inputs) others.push_back(other_values(input));
  try {
    return record(model, others);
  } catch (const ValueError&) {
    for (size_t i = 0; i < inputs.size(); ++i)
      if (!is_differentiable(inputs[i].dtype())) others[i] = inputs[i].data().clone();
    return record(model, others);
  }
}

// Two samples instead of one; undefined if the example is no batch of one.
Tensor two_samples(const Tensor& example) {
  if (example.ndim() == 0 || example.shape(0) != 1) return {};
  Shape shape = example.shape();
  shape[0] = 2;
  return example.data().broadcast_to(shape).clone();
}

// A batch size that the model took from its input and put into an op's attributes would stay what it was in the
// example.
void check_other_batch(Module& model, const Record& first, const std::vector<Tensor>& examples) {
  std::vector<Tensor> inputs;
  for (const Tensor& example : examples) {
    inputs.push_back(two_samples(example));
    if (!inputs.back().defined()) return;
  }
  Record second;
  try {
    second = record(model, inputs);
  } catch (const std::exception&) {
    return;  // a model for batches of one
  }
  for (size_t i = 0; i < std::min(first.events.size(), second.events.size()); ++i) {
    const Record::Event &x = first.events[i], &y = second.events[i];
    check<ValueError>(x.target == y.target && x.attributes == y.attributes &&
                          (x.kind != Node::Kind::tensor || same_values(x.value.data(), y.value.data())),
                      "trace: '", x.name, "' depends on the batch size; let -1 or flatten stand for it, or trace with ",
                      "the batch that the graph is to serve");
  }
  check<ValueError>(first.events.size() == second.events.size() && first.outputs == second.outputs,
                    "trace: what the model computes depends on the batch size");
}

std::string user_of(const Record& record, size_t event) {
  for (const Record::Event& other : record.events)
    if (std::ranges::count(other.inputs, event) > 0) return other.name;
  return "the output";
}

void check_same_structure(const Record& a, const Record& b) {
  for (size_t i = 0; i < std::min(a.events.size(), b.events.size()); ++i) {
    const Record::Event &x = a.events[i], &y = b.events[i];
    check<ValueError>(x.kind == y.kind && x.target == y.target && x.inputs == y.inputs && x.attributes == y.attributes,
                      "trace: what the model computes depends on its input's values: '", x.name, "' on the example, '",
                      y.name, "' on another input");
    if (x.kind == Node::Kind::tensor && !same_values(x.value.data(), y.value.data()))
      throw ValueError(str("trace: an input of '", user_of(a, i),
                           "' depends on the model's input but was computed outside of Thimble's ops"));
  }
  check<ValueError>(a.events.size() == b.events.size() && a.outputs == b.outputs,
                    "trace: what the model computes depends on its input's values");
}

// A layer's own tensors are called <layer>.<tensor>. One that an op uses too becomes a tensor of the graph besides, and
// needs another name.
std::string tensor_name(std::string wanted, const std::unordered_set<std::string>& layers) {
  for (size_t dot = wanted.find('.'); dot != std::string::npos; dot = wanted.find('.', dot + 1)) {
    if (!layers.contains(wanted.substr(0, dot))) continue;
    wanted[dot] = '_';
    break;
  }
  return wanted;
}

std::unordered_set<std::string> layers_of(const Record& record) {
  std::unordered_set<std::string> layers;
  for (const Record::Event& event : record.events)
    if (event.kind == Node::Kind::layer) layers.insert(event.target);
  return layers;
}

Graph build(const Record& record, const Module& model) {
  std::unordered_map<std::string, const Module*> modules;
  for (const auto& [path, module] : model.named_modules()) modules[path] = module;
  std::unordered_set<const void*> parameters;  // frozen ones, too
  for (const Tensor& parameter : model.parameters()) parameters.insert(parameter.id());
  const std::unordered_set<std::string> layers = layers_of(record);
  Graph graph;
  std::vector<Node*> nodes;
  std::unordered_map<std::string, std::string> node_of_layer;
  for (const Record::Event& event : record.events) {
    std::vector<Node*> inputs;
    for (size_t input : event.inputs) inputs.push_back(nodes[input]);
    if (event.kind == Node::Kind::input) {
      nodes.push_back(graph.add_input(event.name));
      nodes.back()->attributes = sample_attributes(event.value);
    } else if (event.kind == Node::Kind::tensor) {
      const bool learns = event.value.requires_grad(), is_parameter = learns || parameters.contains(event.value.id());
      nodes.push_back(
          graph.add_tensor(tensor_name(event.name, layers), Tensor(event.value.data().lazy_clone(), is_parameter)));
      if (!learns && is_parameter) graph.tensor(nodes.back()).set_requires_grad(false);
    } else if (event.kind == Node::Kind::op) {
      nodes.push_back(graph.add_op(event.name, event.target, event.attributes, inputs));
    } else if (node_of_layer.contains(event.target)) {
      nodes.push_back(graph.add_call(event.name, node_of_layer.at(event.target), inputs));
    } else {
      nodes.push_back(graph.add_layer(event.name, copy_layer(*modules.at(event.target)), inputs));
      node_of_layer[event.target] = nodes.back()->target;
    }
    if (event.kind == Node::Kind::layer) nodes.back()->attributes.set("ndim", int64_t{event.value.ndim()});
  }
  std::vector<GraphOutput> outputs;
  for (const size_t output : record.outputs) {
    std::string name = nodes[output]->name;
    for (int again = 1; std::ranges::find(outputs, name, &GraphOutput::name) != outputs.end(); ++again)
      name = str(nodes[output]->name, '_', again);
    outputs.push_back({std::move(name), nodes[output]});
  }
  graph.set_outputs(std::move(outputs));
  return graph;
}

bool close(const NDArray& a, const NDArray& b) {
  if (a.shape() != b.shape() || a.dtype() != b.dtype()) return false;
  const auto x = a.to_vector<double>(), y = b.to_vector<double>();
  for (size_t i = 0; i < x.size(); ++i) {
    const bool same = x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]));
    if (!same && !(std::abs(x[i] - y[i]) <= 1e-5 * std::max({1.0, std::abs(x[i]), std::abs(y[i])}))) return false;
  }
  return true;
}

void check_same_values(Graph& graph, const Record& record, std::span<const Tensor> inputs) {
  const std::vector<Tensor> values = graph.run_all(inputs);
  for (size_t i = 0; i < values.size(); ++i)
    check<ValueError>(close(values[i].data(), record.events[i].value.data()), "trace: the graph's value of '",
                      record.events[i].name, "' is not the model's");
}

void copy_modes(const Module& model, Graph& graph) {
  std::unordered_map<std::string, bool> modes;
  for (const auto& [path, module] : model.named_modules()) modes[path] = module->training();
  for (const auto& [path, layer] : graph.children())
    layer->train(modes.contains(path) ? modes.at(path) : model.training());
  graph.set_own_mode(model.training());
}

}  // namespace

Graph trace(Module& model, const Tensor& example) { return trace(model, std::vector<Tensor>{example}); }

Graph trace(Module& model, const std::vector<Tensor>& examples) {
  const NoGrad guard;
  const Autocast in_full(DType::float32);  // a graph is the same inside of an autocast scope
  // Fresh tensors: an example may be used elsewhere in the model, as a parameter even.
  std::vector<Tensor> inputs;
  for (const Tensor& example : examples) inputs.push_back(example.detach());
  Graph graph;
  {
    const EvalMode mode(model);
    const Record first = record(model, inputs);
    check_same_structure(first, record_on_others(model, inputs));
    check_other_batch(model, first, inputs);
    graph = build(first, model);
    check_same_values(graph, first, inputs);
  }
  copy_modes(model, graph);
  return graph;
}

}  // namespace thimble::nn
