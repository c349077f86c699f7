#include <algorithm>
#include <cmath>
#include <utility>

#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/indexing.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>
#include <thimble/core/random.h>
#include <thimble/nn/training/optim/optimizer.h>
#include <thimble/quant/blocks.h>
#include <thimble/quant/passes/adaround.h>
#include <thimble/quant/passes/layer_by_layer.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/passes/shared_layers.h>
#include <thimble/quant/qat/fake_quantize_op.h>

namespace thimble::quant {

namespace {

using nn::Graph;
using nn::Node;

constexpr const char* kAdaRound = "adaround";

void check_options(const AdaRoundOptions& o) {
  check<ValueError>(o.iterations >= 0, kAdaRound, ": ", o.iterations, " iterations");
  check<ValueError>(o.batch_size >= 1, kAdaRound, ": batches of ", o.batch_size);
  check<ValueError>(o.regularization >= 0 && std::isfinite(o.regularization), kAdaRound, ": regularization ",
                    o.regularization);
  check<ValueError>(o.warm_up >= 0 && o.warm_up <= 1, kAdaRound, ": warm_up ", o.warm_up, " is not in [0, 1]");
  check<ValueError>(o.beta_end >= 1 && o.beta_start >= o.beta_end && std::isfinite(o.beta_start), kAdaRound,
                    ": beta from ", o.beta_start, " to ", o.beta_end, "; it falls to at least 1");
}

// The rectified sigmoid of the paper, stretched so that it reaches 0 and 1.
constexpr double kZeta = 1.1, kGamma = -0.1;

// Weights between the two integers around them: floor(W / s) + h(V), V learned. V begins where h is the fraction of W /
// s, so that the weights begin as they are.
class SoftRounding {
 public:
  SoftRounding(const NDArray& float_weight, const QParams& p)
      : floor_(NDArray(float_weight.shape())),
        scale_(NDArray(float_weight.shape())),
        qmin_(p.spec.qmin()),
        qmax_(p.spec.qmax()) {
    const NDArray weight = float_weight.contiguous();
    const Blocks blocks(weight.shape(), p.spec, kAdaRound);
    NDArray logits(weight.shape());
    int64_t i = 0;
    for (int64_t row = 0; row < blocks.rows(); ++row) {
      const float scale = p.scale[blocks.channel(row)];
      for (const int64_t end = i + blocks.size(row); i < end; ++i) {
        const float steps = weight.data<float>()[i] / scale, floor = std::floor(steps);
        scale_.mutable_data().data<float>()[i] = scale;
        floor_.mutable_data().data<float>()[i] = floor;
        logits.data<float>()[i] =
            static_cast<float>(-std::log((kZeta - kGamma) / (double{steps - floor} - kGamma) - 1));
      }
    }
    v_ = Tensor(logits, /*requires_grad=*/true);
  }

  const Tensor& parameter() const { return v_; }
  /// h(V), in [0, 1].
  Tensor up() const { return clamp(sigmoid(v_) * (kZeta - kGamma) + kGamma, 0, 1); }
  Tensor weight(const Tensor& up) const { return clamp(floor_ + up, qmin_, qmax_) * scale_; }
  Tensor decided() const {
    return weight(where(greater_equal(up(), Tensor::scalar(0.5)), Tensor::scalar(1), Tensor::scalar(0)));
  }

 private:
  Tensor floor_, scale_, v_;
  double qmin_, qmax_;
};

// One layer's part of the network: what it reads, and what it shall give.
struct LayerProblem {
  const Graph& graph;
  const Node* node;
  Tensor x, y;  // of all samples
  Tensor bias;  // may be undefined

  LayerProblem(const Graph& g, const Node* n, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs)
      : graph(g), node(n), x(concat(inputs)), y(concat(outputs)) {
    if (bias_of(graph, node).defined()) bias = bias_of(graph, node).detach();
  }

  // Squared error over output channels, mean over the rest.
  Tensor error(const Tensor& inputs, const Tensor& targets, const Tensor& weight) const {
    const Tensor output = apply_product(graph, node, inputs, weight, bias);
    const Tensor difference = (has_relu(graph, node) ? relu(output) : output) - targets;
    return sum(difference * difference) *
           (static_cast<double>(weight.shape(0)) / static_cast<double>(std::max<int64_t>(difference.numel(), 1)));
  }

  // Over all samples, some at a time.
  double whole_error(const Tensor& weight) const {
    constexpr int64_t kPart = 64;
    const NoGrad guard;
    double total = 0;
    for (int64_t at = 0; at < x.shape(0); at += kPart) {
      const int64_t end = std::min(at + kPart, x.shape(0));
      total += error(slice(x, 0, at, end), slice(y, 0, at, end), weight).item<double>() * static_cast<double>(end - at);
    }
    return total / static_cast<double>(x.shape(0));
  }
};

// The numbers of samples, in an order that is drawn anew each time all have been there.
class SampleOrder {
 public:
  SampleOrder(int64_t samples, const Generator& generator) : samples_(samples), generator_(generator) {}

  Tensor next(int64_t count) {
    std::vector<int64_t> chosen;
    for (count = std::min(count, samples_); count > 0; --count) {
      if (at_ == order_.size()) {
        order_ = generator_.permutation(samples_);
        at_ = 0;
      }
      chosen.push_back(order_[at_++]);
    }
    return NDArray::from_vector(chosen);
  }

 private:
  int64_t samples_;
  Generator generator_;
  std::vector<int64_t> order_;
  size_t at_ = 0;
};

class AdaRound {
 public:
  AdaRound(const Graph& prepared, std::span<const Tensor> batches, const AdaRoundOptions& options)
      : graph_(prepared.clone()), float_(without_observers(prepared)), batches_(batches), options_(options) {}

  Graph run(AdaRoundReport* report) {
    check_options(options_);
    check_batches(graph_, batches_, kAdaRound);
    const auto products = by_weight(graph_, settled_products(graph_, kAdaRound));
    check_calls_agree(kAdaRound, graph_);
    total_ = options_.iterations * static_cast<int64_t>(products.size());
    AdaRoundReport layers;
    for (size_t i = 0; i < products.size(); ++i) round_weights(products[i], i, layers);
    graph_.verify();
    if (report) *report = std::move(layers);
    return std::move(graph_);
  }

 private:
  // Learning's settings for one iteration of a layer.
  struct Moment {
    bool regularized;
    double beta;
  };

  // Of all calls that have these weights: they are rounded once, for all.
  void round_weights(const std::vector<Node*>& calls, uint64_t number, AdaRoundReport& report) {
    const NDArray weight = weight_of(graph_, calls[0]).data();
    const QParams p = weight_quantization_of(calls[0]).qparams(weight);
    std::vector<LayerProblem> problems;
    std::vector<SampleOrder> orders;
    for (const Node* node : calls) {
      problems.push_back(no_grad([&] {
        return LayerProblem(graph_, node, integer_inputs(graph_, node->name, batches_),
                            values_at(float_, node->name, batches_));
      }));
      const Generator generator = Generator(options_.seed).split(number);
      orders.emplace_back(problems.back().x.shape(0), orders.empty() ? generator : generator.split(orders.size()));
    }
    SoftRounding rounding(weight, p);
    learn(problems, rounding, orders);
    const NoGrad guard;
    const Tensor nearest = fake_quantize(Tensor(weight), p), learned = rounding.decided();
    double gain = 0;
    for (size_t i = 0; i < calls.size(); ++i) {
      report.push_back({calls[i]->name, problems[i].whole_error(nearest), problems[i].whole_error(learned)});
      gain += report.back().nearest_error - report.back().error;
    }
    NDArray rounded = std::move((gain > 0 ? learned : nearest).mutable_data());
    for (const Node* node : calls) weight_of(graph_, node).set_data(rounded.lazy_clone());
  }

  Moment moment(int64_t iteration) const {
    const double warm_up = options_.warm_up * static_cast<double>(options_.iterations);
    const double since = static_cast<double>(iteration) - warm_up;
    const double part = since / std::max(static_cast<double>(options_.iterations) - warm_up, 1.0);
    return {since >= 0, options_.beta_end + (options_.beta_start - options_.beta_end) * (1 - part)};
  }

  // From samples of one call after the other.
  void learn(const std::vector<LayerProblem>& problems, const SoftRounding& rounding,
             std::vector<SampleOrder>& orders) {
    const GradMode recording(true);
    optim::Adam adam({rounding.parameter()}, {.lr = options_.lr});
    for (int64_t i = 0; i < options_.iterations; ++i) {
      const size_t call = static_cast<size_t>(i) % problems.size();
      const LayerProblem& problem = problems[call];
      const Tensor samples = orders[call].next(options_.batch_size);
      const Tensor up = rounding.up();
      Tensor loss =
          problem.error(index_select(problem.x, 0, samples), index_select(problem.y, 0, samples), rounding.weight(up));
      if (const Moment now = moment(i); now.regularized)
        loss = loss + options_.regularization * sum(1.0 - pow(abs(up * 2.0 - 1.0), now.beta));
      adam.zero_grad();
      loss.backward();
      adam.step();
      ++done_;
      if (options_.progress) options_.progress(done_, total_);
    }
  }

  Graph graph_, float_;
  std::span<const Tensor> batches_;
  const AdaRoundOptions& options_;
  int64_t done_ = 0, total_ = 0;
};

}  // namespace

nn::Graph adaround(const nn::Graph& prepared, std::span<const Tensor> batches, const AdaRoundOptions& options,
                   AdaRoundReport* report) {
  return AdaRound(prepared, batches, options).run(report);
}

}  // namespace thimble::quant
