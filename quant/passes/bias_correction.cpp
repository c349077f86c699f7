#include <map>
#include <string>
#include <utility>
#include <vector>

#include <thimble/core/ops/reduce.h>
#include <thimble/quant/layers/quantized_layer.h>
#include <thimble/quant/layers/quantized_ops.h>
#include <thimble/quant/passes/bias_correction.h>
#include <thimble/quant/passes/layer_by_layer.h>
#include <thimble/quant/passes/layer_like.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/passes/shared_layers.h>
#include <thimble/quant/qat/fake_quantize_op.h>
#include <thimble/quant/quantize.h>

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
    const auto expected = float_means(products);
    Graph integers = convert(graph_);
    int64_t done = 0;
    run_layer_by_layer(integers, batches_, [&](const Node* integer, const std::vector<Tensor>& x) {
      const auto means = expected.find(integer->name);
      if (means == expected.end()) return;
      Node* node = graph_.find(integer->name);
      auto* layer = integers.layer_as<IntegerProduct>(integer);
      std::vector<double> shift = means->second;
      const std::vector<double> given = integer_means(node, layer->quantization().input, x);
      for (size_t c = 0; c < shift.size(); ++c) shift[c] -= given[c];
      add_to_bias(node, shift);
      layer->add_to_bias(shift);
      if (progress) progress(++done, static_cast<int64_t>(expected.size()));
    });
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

  // Of each output channel of a product, over samples and pixels.
  struct Means {
    std::vector<double> sums;
    int64_t count = 0;

    std::vector<double> values() const {
      std::vector<double> means = sums;
      for (double& mean : means) mean /= static_cast<double>(count);
      return means;
    }
  };

  // What each product of the float graph gives, one batch after the other.
  std::map<std::string, std::vector<double>> float_means(const std::vector<Node*>& products) const {
    std::map<std::string, Means> means;
    for (const Node* node : products) means[node->name];
    for (const Tensor& batch : batches_)
      run_layer_by_layer(float_, {&batch, 1}, [&](const Node* twin, const std::vector<Tensor>& x) {
        if (const auto wanted = means.find(twin->name); wanted != means.end())
          add_product(wanted->second, twin, x[0], weight_of(float_, twin), bias_of(float_, twin));
      });
    std::map<std::string, std::vector<double>> values;
    for (const auto& [name, of_product] : means) values[name] = of_product.values();
    return values;
  }

  // The same of a product of integers, whose arithmetic is that of floats on values and weights that were rounded.
  std::vector<double> integer_means(const Node* node, const TensorQParams& input, const std::vector<Tensor>& x) const {
    const QParams p = weight_quantization_of(node).qparams(weight_of(graph_, node).data());
    const Tensor weight = fake_quantize(weight_of(graph_, node).detach(), p);
    Dequantize dequantize(input);
    Means means;
    for (const Tensor& batch : x) add_product(means, node, dequantize(batch), weight, bias_of(graph_, node));
    return means.values();
  }

  void add_product(Means& means, const Node* product, const Tensor& x, const Tensor& weight, const Tensor& bias) const {
    const Tensor y = apply_product(graph_, graph_.find(product->name), x, weight, bias);
    const int channel = weight.ndim() == 4 ? 1 : y.ndim() - 1;
    const auto sums = sum(y, all_but(channel, y.ndim())).data().to_vector<double>();
    means.sums.resize(sums.size());
    for (size_t c = 0; c < sums.size(); ++c) means.sums[c] += sums[c];
    means.count += y.numel() / weight.shape(0);
  }

  static Shape all_but(int axis, int ndim) {
    Shape axes;
    for (int i = 0; i < ndim; ++i)
      if (i != axis) axes.push_back(i);
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
