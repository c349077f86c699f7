// What passes share that improve one product of a prepared graph after another, each on what the integer layers before
// it give. Internal to quant.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <thimble/nn/graph/graph.h>

namespace thimble::quant {

/// Throws ValueError, beginning with `pass`, unless the graph has one input, batches are float32, finite and of one
/// shape but for the number of samples (the first dimension), and there is a sample.
void check_batches(const nn::Graph& graph, std::span<const Tensor> batches, std::string_view pass);

/// The products that convert() will make integer ones, in order, in `prepared`, a calibrated graph, where the scales of
/// their weights are settled: observers of weights that are changed from now on do not choose others. Throws
/// ValueError, beginning with `pass`, for layers of quantization-aware training, and what convert() throws.
std::vector<nn::Node*> settled_products(nn::Graph& prepared, std::string_view pass);

/// The graph without observers, in evaluation mode.
nn::Graph without_observers(const nn::Graph& prepared);

/// The value of the node of this name, one tensor for each batch.
std::vector<Tensor> values_at(const nn::Graph& graph, const std::string& node, std::span<const Tensor> batches);

/// Runs the graph on all batches, one node after the other, forgetting values that nobody needs any more. Calls
/// `before` with each layer's node, which it may change then, and what the node reads first, one tensor for each batch.
void run_layer_by_layer(
    const nn::Graph& graph, std::span<const Tensor> batches,
    const std::function<void(const nn::Node* layer, const std::vector<Tensor>& first_inputs)>& before);

/// What a product reads in convert(prepared), as floats, one tensor for each batch.
std::vector<Tensor> integer_inputs(const nn::Graph& prepared, const std::string& product,
                                   std::span<const Tensor> batches);

/// The layer's op, without relu, applied with these weights.
Tensor apply_product(const nn::Graph& graph, const nn::Node* product, const Tensor& x, const Tensor& weight,
                     const Tensor& bias);

}  // namespace thimble::quant
