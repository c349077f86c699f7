// What the nodes of a graph are to quantization. Internal to quant: prepare() and convert() must agree on it.
#pragma once

#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/nn/graph/node_type.h>
#include <thimble/quant/layers/product_weights.h>
#include <thimble/quant/observers/observer.h>
#include <thimble/quant/qconfig.h>

namespace thimble::quant {

/// A layer that can become an integer product: linear and conv2d, also fused with relu or in the form that
/// prepare_qat() gives them.
bool is_product(const nn::Graph& graph, const nn::Node* node);
/// LSTM, GRU or RNN, which can become a QuantizedRecurrent.
bool is_recurrent(const nn::Graph& graph, const nn::Node* node);
/// A layer that can have integer weights: a product or a recurrent one.
bool can_have_integer_weights(const nn::Graph& graph, const nn::Node* node);
/// A layer whose table of float32 can become one of integers: Embedding and EmbeddingBag.
bool is_table(const nn::Graph& graph, const nn::Node* node);
/// A convolution each of whose output channels reads one input channel.
bool is_depthwise(const nn::Graph& graph, const nn::Node* node);
/// Values side by side, along an axis that they have or a new one.
bool is_concat(const nn::Graph& graph, const nn::Node* node);
/// Padding by zeros or by the value's own elements.
bool is_pad(const nn::Graph& graph, const nn::Node* node);
/// relu, relu6 or clamp that was not fused into what stands before it.
bool is_clamp(const nn::Graph& graph, const nn::Node* node);
/// Ops and layers that are integer ones where their inputs are: those of integer_forms.h, concatenations, clamps, what
/// masks in front of softmax (softmax_inputs.h). So are functions of one value, see value_functions.h.
bool follows_inputs(const nn::Graph& graph, const nn::Node* node);
/// Layers that were converted before.
bool is_integer_layer(const nn::Graph& graph, const nn::Node* node);

/// The names that the type counts under, the most particular first. What a fused layer was made of counts, too: who
/// keeps Linear float means Linear with ReLU as well.
std::vector<std::string> types_of(const nn::Graph& graph, const nn::Node* node);
/// Notes on a layer's node what it was before a pass replaced it, which goes on counting among its types.
void note_type(nn::Node* node, const std::string& type);
/// All float weights of a product or recurrent layer that become integers.
std::vector<Tensor> all_weights_of(const nn::Graph& graph, const nn::Node* node);
/// A product's float weight, [out, ...], and its bias, which may be undefined.
const Tensor& weight_of(const nn::Graph& graph, const nn::Node* product);
const Tensor& bias_of(const nn::Graph& graph, const nn::Node* product);
/// A table's float weight, [rows, dim].
const Tensor& table_of(const nn::Graph& graph, const nn::Node* table);
/// Why a product or recurrent layer stays float whatever its configuration; empty if it need not.
std::string obstacle_of(const nn::Module& product);
/// Whether relu is fused into the product.
bool has_relu(const nn::Graph& graph, const nn::Node* product);
/// Null for other layers.
Observer* observer_of(const nn::Graph& graph, const nn::Node* node);

/// What an op that needs no arithmetic of its own, or a mean's, makes of the elements. Its integer form has its input's
/// parameters.
enum class Effect { none, moves, selects, averages };
Effect effect_of(const nn::Graph& graph, const nn::Node* node);
/// Whether an "interpolate" op gives means of neighbours, which stay among the integers of its input.
THIMBLE_API bool is_mean_of_neighbours(const nn::Node& resampling);
/// The inputs whose elements the node works on: its operands, or the first one of what moves or selects that one's, by
/// an index for example.
std::span<nn::Node* const> values_of(const nn::Graph& graph, const nn::Node* node);
/// Whether the node works on integers as on floats: it moves elements, or is marked. What selects or averages floats
/// may have a much smaller range than they, and is better quantized behind that.
bool passes_integers_on(const nn::Graph& graph, const nn::Node* node);
/// Whether a constant's integers say enough of it and of what it meets: not what is far larger than all else. Minus
/// infinity, or 1e9, would leave nothing of what it is added to.
bool can_be_integers(const Tensor& constant);
/// Whether these values come from nodes that are marked. Constants beside them do not count, if they can be integers.
bool come_from_marked(const nn::Graph& graph, std::span<nn::Node* const> values);
/// Marks a pool or slice that reads what comes from nodes that are marked.
void mark_if_it_picks_integers(const nn::Graph& graph, nn::Node* node);

/// Whether the node asks for a value's sizes alone, which are the same in integers.
bool reads_sizes(const nn::Graph& graph, const nn::Node* node);
/// The nodes that read the value's elements.
std::vector<nn::Node*> readers_of(const nn::Graph& graph, const nn::Node* value);
/// Nodes that reckon with sizes and other integers: shape, and what follows from it and from integer constants alone.
std::unordered_set<const nn::Node*> nodes_of_sizes(const nn::Graph& graph);

/// Whether the source of this value, which a node reads, may have the parameters observed behind that node: nothing
/// else reads the source, so that whatever the node does not need of it is needed nowhere. A mean says too little about
/// what it averages.
bool can_share(const nn::Graph& graph, const nn::Node* value);

/// Whether a value's parameters, if it has some, are observed right behind it: it is not handed on with those of an
/// input. A clamp that is marked has its own if its source can share them.
bool has_own_parameters(const nn::Graph& graph, const nn::Node* value);

/// Whether the mapping makes an integer product, or a recurrent layer of such, of this node.
bool is_wanted_product(const nn::Graph& graph, const nn::Node* node, const QConfigMapping& mapping);
/// Whether it makes one of any, or integers of a table.
bool wants_integers(const nn::Graph& graph, const QConfigMapping& mapping);

/// Throws ValueError, with the name of the pass in front, if the mapping names a node or a type that does not exist.
void check_names(const char* pass, const nn::Graph& graph, const QConfigMapping& mapping);
/// Throws ValueError, with the name of the pass in front, for a graph of prepare_qat().
void check_has_no_qat_layers(const char* pass, const nn::Graph& graph);
/// Why a pass finds nothing that the mapping quantizes in this graph, and what to do, for its error.
std::string nothing_to_quantize(const nn::Graph& graph, const QConfigMapping& mapping);

/// prepare() marks the nodes that are to become integer ones, and leaves on a product how its weights are quantized.
void mark(nn::Node* node);
void mark(nn::Node* node, const WeightQuantization& weight);
/// Of a node that is the result of a function (value_functions.h), which so is no clamp, even if it applies one.
void mark_function(nn::Node* result);
bool is_marked(const nn::Node* node);
void unmark(nn::Node* node);
/// Of a product, a recurrent layer or a table that is marked.
WeightQuantization weight_quantization_of(const nn::Node* node);
/// The same for a table that is to become integers. It is not `marked`: what it gives stays float.
void mark_table(nn::Node* node, const WeightQuantization& weight);
bool is_marked_table(const nn::Node* node);
/// The node's own attributes, without marks.
Attributes without_marks(const Attributes& attributes);

}  // namespace thimble::quant
