// Graph: the module graph that passes rewrite. It is itself a Module.
//
//   nn::Graph graph = nn::trace(net.eval(), example);
//   std::cout << graph.table();
//   for (nn::Node* node : graph.nodes())
//     if (graph.is_layer(node, "Linear")) std::cout << node->name << '\n';
#pragma once

#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

/// One value of the graph and what makes it.
/// Fields may be read; the graph's functions change them, since it keeps what it derived from them.
struct THIMBLE_API Node {
  enum class Kind {
    input,   ///< an argument of the graph; target names its default, if it has one
    tensor,  ///< a parameter or constant that an op uses; target names it
    layer,   ///< a call of a leaf layer; target is the layer's path. Two nodes may call one layer.
    op,      ///< an op applied outside of layers; target is the op's name
  };

  std::string name;  ///< unique in the graph, changed by Graph::rename() alone; how configurations name layers
  Kind kind = Kind::op;
  std::string target;
  Attributes attributes;  ///< of an op; on a layer's node, whose layer has its own, what a pass leaves for a later one
  std::vector<Node*> inputs;
};

THIMBLE_API std::string_view name(Node::Kind kind);

/// A value that the graph gives, and the name that users know it by, which stays while passes change the nodes.
struct THIMBLE_API GraphOutput {
  std::string name;
  Node* node = nullptr;
};

/// In evaluation mode it runs on an executor, see nn/inference/executor.h, unless gradients of its inputs are recorded,
/// or in a scope of Autocast.
///
/// Nodes in an order in which each comes after its inputs, and the layers and tensors they use, owned by the graph. Its
/// inputs and outputs have names, and there may be several of each; a call gives the first output, run() all. The last
/// inputs of a call may be left out if they have defaults, in run() any that has one. A graph
/// may be called from several threads at once as long as nobody edits it or its layers; layers in training mode
/// (dropout aside) and observers may change state of their own.
class THIMBLE_API Graph : public Module {
 public:
  Graph() = default;
  /// What was moved from can be destroyed or assigned to; editing or running it throws ValueError.
  Graph(Graph&& other) noexcept;
  Graph& operator=(Graph&& other) noexcept;

  /// A deep copy: passes work on one, so that they never change their input. Tensors share their memory until one of
  /// both is written (NDArray::lazy_clone()).
  Graph clone() const;

  // Looking at it.

  std::vector<Node*> nodes() const;
  std::vector<Node*> inputs() const;
  static constexpr size_t kMostOutputs = 1024;  ///< so that a search through them takes no time
  const std::vector<GraphOutput>& outputs() const { return outputs_; }
  /// The first output's; null while there is none.
  Node* output() const { return outputs_.empty() ? nullptr : outputs_[0].node; }
  bool is_output(const Node* node) const;
  /// The node of this name; null if there is none.
  Node* find(std::string_view node_name) const;
  /// Nodes that have `node` as an input, each once, in order. The graph's output counts as no user.
  std::vector<Node*> users(const Node* node) const;
  /// How many there are.
  size_t num_users(const Node* node) const;
  bool is_op(const Node* node, std::string_view op) const { return node->kind == Node::Kind::op && node->target == op; }
  /// Whether the node calls a layer of this type.
  bool is_layer(const Node* node, std::string_view type) const;
  /// The layer that the node calls. Throws ValueError if it calls none.
  Module& layer(const Node* node) const;
  template <typename T>
  T* layer_as(const Node* node) const {
    return node->kind == Node::Kind::layer ? dynamic_cast<T*>(&layer(node)) : nullptr;
  }
  /// The tensor that the node stands for. Throws ValueError if it stands for none.
  Tensor tensor(const Node* node) const;
  /// What an input is where it is not given; undefined if it must be.
  Tensor default_of(const Node* input) const;
  /// How many nodes call this node's layer.
  int calls_of_layer(const Node* node) const;

  // Building and editing. New nodes go behind `after`, or to the end. Names that are taken get a suffix _1, _2, ...
  // All throw ValueError for nodes that are null or another graph's, and leave the graph as it was when they throw.

  /// With a default, which becomes a buffer of the graph, it need not be given.
  Node* add_input(const std::string& wanted_name, const Tensor& default_value = {});
  Node* add_op(const std::string& wanted_name, const std::string& op, Attributes attributes, std::vector<Node*> inputs,
               const Node* after = nullptr);
  /// Adds a call of `new_layer`, a leaf layer, which the graph then owns under the node's name, if no other layer or
  /// tensor has that (after a node was renamed), or with a suffix.
  Node* add_layer(const std::string& wanted_name, std::shared_ptr<Module> new_layer, std::vector<Node*> inputs,
                  const Node* after = nullptr);
  /// Adds another call of a layer that the graph has already.
  Node* add_call(const std::string& wanted_name, const std::string& target, std::vector<Node*> inputs,
                 const Node* after = nullptr);
  /// Adds a tensor, as a parameter if it requires gradients, which the graph then owns under the wanted name, if no
  /// other layer or tensor has that, or with a suffix. Throws ValueError if it is in the graph already.
  Node* add_tensor(const std::string& wanted_name, const Tensor& tensor);
  /// The only output, under the node's name.
  void set_output(Node* node);
  /// Throws ValueError for none or more than kMostOutputs, and for names that are empty or given twice.
  void set_outputs(std::vector<GraphOutput> outputs);

  /// Makes this node (and any other that shares its layer) call `new_layer`, a leaf layer, instead.
  void replace_layer(Node* node, std::shared_ptr<Module> new_layer);
  /// Makes this node apply another op to its inputs. Throws ValueError if it applies none.
  void replace_op(Node* node, const std::string& op, Attributes attributes);
  /// Makes this node, which loses its inputs, stand for `tensor`, which becomes a buffer of the graph. Throws
  /// ValueError for a node that is neither a layer's nor an op's, and for a tensor that is in the graph already.
  void replace_by_tensor(Node* node, const Tensor& tensor);
  /// Every output that is `old` becomes `replacement`, whoever else uses it.
  void replace_output(Node* old, Node* replacement);
  /// Every user of `old` (and every output of the graph) takes `replacement` instead, except `replacement` itself.
  void replace_uses(Node* old, Node* replacement);
  void set_input(Node* node, size_t index, Node* value);
  /// What the node calls or stands for keeps its name, and so does an output. Throws
  /// ValueError if the name is empty or another node's.
  void rename(Node* node, const std::string& new_name);
  /// Removes a node; throws ValueError if somebody uses it. A layer without calls goes with it.
  void erase(Node* node);
  /// Removes nodes that no output depends on, inputs excepted; returns how many.
  int eliminate_dead_nodes();

  /// Throws ValueError, saying where, unless: each node stands after its inputs, names of nodes and of tensors are
  /// unique, ops and layers exist, there are inputs and outputs.
  void verify() const;

  /// A row a node, in lines of at most 100 characters; attributes with PyTorch's defaults (bias=true) are left out.
  std::string table() const;
  /// Graphviz.
  std::string dot() const;

  /// The outputs by name, for inputs by name, in any order:
  ///
  ///   const nn::NamedTensors answers = graph.run({{"input", x}});
  ///
  /// Throws ValueError for a name that is missing, not there, or given twice.
  NamedTensors run(const NamedTensors& inputs);
  Tensor forward_all(std::span<const Tensor> inputs) override;
  std::vector<Tensor> forward_outputs(std::span<const Tensor> inputs) override;
  /// The value of every node, in the order of nodes().
  std::vector<Tensor> run_all(std::span<const Tensor> inputs);

 private:
  struct Runners;
  struct Held;
  struct InOrder {
    bool operator()(const Held* a, const Held* b) const { return a->rank < b->rank; }
  };
  /// A node and what spares searches through all of them: a graph may have a hundred thousand.
  struct Held : Node {
    int64_t rank = 0;                          // rises from node to node
    std::map<Held*, size_t, InOrder> users{};  // and how many of its inputs this node is
  };
  using Nodes = std::list<Held>;

  std::string unique_name(const std::string& wanted);
  std::string unique_target(const std::string& wanted) const;
  void check_name_of(const Node* node) const;
  Node* insert(Node node, const Node* after);
  void remove(const Node* node);
  Nodes::iterator position(const Node* node);
  int64_t rank_before(Nodes::iterator next);
  void link(Held& node);
  void unlink(Held& node) noexcept;
  void drop_inputs(Held& user) noexcept;
  void drop_call(const Node& node) noexcept;
  std::shared_ptr<Module> layer_at(const std::string& target) const;
  std::shared_ptr<const Runners> runners() const;
  void compute(std::span<const Tensor> inputs, std::span<Tensor> outputs);
  static void check_not_null(const Node* node);
  void check_not_moved_from() const;
  void edited() { *runners_ = nullptr; }

  Nodes nodes_;
  std::unordered_map<const Node*, Nodes::iterator> position_;
  std::unordered_map<std::string, Node*> by_name_;
  std::unordered_map<std::string, int> calls_;         // of each layer
  std::unordered_map<std::string, int64_t> suffixes_;  // the last that was given to a wanted name
  std::vector<GraphOutput> outputs_;
  // Made on the first call after an edit. Behind pointers, so that a graph can be moved.
  std::unique_ptr<std::shared_ptr<const Runners>> runners_ = std::make_unique<std::shared_ptr<const Runners>>();
  std::unique_ptr<std::mutex> runners_mutex_ = std::make_unique<std::mutex>();
};

}  // namespace thimble::nn
