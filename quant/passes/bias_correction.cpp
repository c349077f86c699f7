#include <utility>
#include <vector>

#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/quant/passes/bias_correction.h>
#include <thimble/quant/passes/layer_by_layer.h>
#include <thimble/quant/passes/layer_like.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/passes/shared_layers.h>
#include <thimble/quant/qat/fake_quantize_op.h>

namespace thimble::quant {

namespace {

using nn::Graph;
using nn::Node;

constexpr const char* kBiasCorrection = "bias correction";

class BiasCorrection {
 public:
  BiasCorrection(const Graph& prepared, const Graph& fused, std::span<const Tensor> batches)
      : graph_(prepared.clone()), float_(without_observers(fused)), batches_(batches) {}

  Graph run(const std::function<void(int64_t, int64_t)>& progress) {
    check_batches(graph_, batches_, kBiasCorrection);
    // Each call has a bias of its own from now on.
    const std::vector<Node*> products = separate_calls(graph_, settled_products(graph_, kBiasCorrection));
    for (const Node* node : products) check_twin(node);
    const NoGrad guard;
    for (size_t i = 0; i < products.size(); ++i) {
      add_to_bias(products[i], mean_shift(products[i]));
      if (progress) progress(static_cast<int64_t>(i + 1), static_cast<int64_t>(products.size()));
    }
    graph_.verify();
    return std::move(graph_);
  }

 private:
  void check_twin(const Node* node) const {
    const Node* twin = float_.find(node->name);
    check<ValueError>(twin && type_of(float_, twin) == type_of(graph_, node) &&
                          weight_of(float_, twin).shape() == weight_of(graph_, node).shape(),
                      kBiasCorrection, ": the float graph has no layer like '", node->name, "'");
  }

  // The mean over samples and pixels of what the float layer gives and the integer one lacks, for each output channel.
  std::vector<double> mean_shift(const Node* node) const {
    const Node* twin = float_.find(node->name);
    const std::vector<Tensor> x = values_at(float_, twin->inputs[0]->name, batches_);
    const std::vector<Tensor> quantized = integer_inputs(graph_, node->name, batches_);
    const QParams p = weight_quantization_of(node).qparams(weight_of(graph_, node).data());
    const Tensor weight = fake_quantize(weight_of(graph_, node).detach(), p);
    std::vector<double> total(static_cast<size_t>(weight.shape(0)));
    int64_t count = 0;
    for (size_t b = 0; b < x.size(); ++b) {
      const Tensor difference = apply_product(float_, twin, x[b], weight_of(float_, twin), bias_of(float_, twin)) -
                                apply_product(graph_, node, quantized[b], weight, bias_of(graph_, node));
      const auto sums = sum(difference, all_but_channels(node, difference.ndim())).data().to_vector<double>();
      for (size_t c = 0; c < total.size(); ++c) total[c] += sums[c];
      count += difference.numel() / weight.shape(0);
    }
    for (double& shift : total) shift /= static_cast<double>(count);
    return total;
  }

  Shape all_but_channels(const Node* node, int ndim) const {
    const int channel = weight_of(graph_, node).ndim() == 4 ? 1 : ndim - 1;
    Shape axes;
    for (int i = 0; i < ndim; ++i)
      if (i != channel) axes.push_back(i);
    return axes;
  }

  void add_to_bias(Node* node, const std::vector<double>& shift) {
    const Tensor& bias = bias_of(graph_, node);
    std::vector<double> corrected = shift;
    if (bias.defined()) {
      const auto before = bias.data().to_vector<double>();
      for (size_t c = 0; c < corrected.size(); ++c) corrected[c] += before[c];
    }
    const NDArray array = NDArray::from_vector(corrected).to(DType::float32);
    if (bias.defined()) return bias.set_data(array);
    const nn::Module& layer = graph_.layer(node);
    graph_.replace_layer(node, layer_like(layer, layer.type(), weight_of(graph_, node).data(), array));
  }

  Graph graph_, float_;
  std::span<const Tensor> batches_;
};

}  // namespace

nn::Graph bias_correction(const nn::Graph& prepared, const nn::Graph& fused, std::span<const Tensor> batches,
                          const std::function<void(int64_t, int64_t)>& progress) {
  return BiasCorrection(prepared, fused, batches).run(progress);
}

}  // namespace thimble::quant
