#include <array>
#include <utility>

#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/embedding_bag.h>
#include <thimble/core/ops/float_operands.h>
#include <thimble/core/ops/indexing.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

namespace {

constexpr std::array<std::pair<BagMode, std::string_view>, 3> kBagModes{
    {{BagMode::sum, "sum"}, {BagMode::mean, "mean"}, {BagMode::max, "max"}}};

template <typename I>
void check_rows(const NDArray& index, int64_t rows, std::string_view op) {
  const I* values = index.data<I>();
  for (int64_t i = 0; i < index.numel(); ++i)
    check<ValueError>(values[i] >= 0 && values[i] < rows, op, ": index ", values[i], " (entry ", i,
                      ") is out of range for size ", rows);
}

template <typename I>
void check_offsets(const NDArray& offsets, int64_t entries, std::string_view op) {
  const I* values = offsets.data<I>();
  check<ValueError>(values[0] == 0, op, ": offsets must begin with 0, got ", values[0]);
  for (int64_t b = 0; b < offsets.numel(); ++b)
    check<ValueError>(values[b] <= entries && (b == 0 || values[b] >= values[b - 1]), op, ": offsets[", b, "] is ",
                      values[b], ", expected no less than the one before and at most the ", entries, " entries");
}

// How the three ops below are made again: they share attributes, and inputs that may be missing.
struct BagConfig {
  BagMode mode = BagMode::mean;
  int64_t padding = -1;  // counted from the beginning; -1: none
  bool has_offsets = false;

  explicit BagConfig(const Attributes& a)
      : mode(bag_mode_from_name(a.get<std::string>("mode"))),
        padding(a.get<int64_t>("padding_idx", -1)),
        has_offsets(a.get("offsets", false)) {}
  BagConfig(BagMode bag_mode, int64_t padding_idx, bool offsets)
      : mode(bag_mode), padding(padding_idx), has_offsets(offsets) {}

  Attributes attributes() const {
    Attributes all{{"mode", std::string(name(mode))}};
    if (padding >= 0) all.set("padding_idx", padding);
    if (has_offsets) all.set("offsets", true);
    return all;
  }

  // Of what follows the first `given` inputs.
  template <typename Array>
  Array offsets(std::span<const Array> inputs, size_t given) const {
    const size_t most = given + has_offsets + 1;
    check<ValueError>(inputs.size() >= given + has_offsets && inputs.size() <= most, "embedding_bag: got ",
                      inputs.size(), " inputs, expected ", given, has_offsets ? " and offsets" : "",
                      ", and perhaps per_sample_weights");
    return has_offsets ? inputs[given] : Array();
  }
  template <typename Array>
  Array scales(std::span<const Array> inputs, size_t given) const {
    const size_t place = given + has_offsets;
    return place < inputs.size() ? inputs[place] : Array();
  }
  template <typename Array>
  static std::vector<Array> with(std::vector<Array> inputs, const Array& offsets, const Array& scales = {}) {
    if (offsets.defined()) inputs.push_back(offsets);
    if (scales.defined()) inputs.push_back(scales);
    return inputs;
  }
};

NDArray contiguous_or_undefined(const NDArray& x) { return x.defined() ? x.contiguous() : x; }

void check_table(const NDArray& weight, std::string_view op) {
  check<ShapeError>(weight.ndim() == 2, op, ": weight must be [num_embeddings, dim], got ", weight.shape());
  check_differentiable(weight.dtype(), op);
}

void check_scales(const NDArray& scales, const NDArray& index, const NDArray& table, BagMode mode,
                  std::string_view op) {
  if (!scales.defined()) return;
  check<ValueError>(mode == BagMode::sum, op, ": per_sample_weights are for mode sum, not ", name(mode));
  check<ShapeError>(scales.shape() == index.shape(), op, ": per_sample_weights ", scales.shape(),
                    " must have index's shape ", index.shape());
  check<DTypeError>(scales.dtype() == table.dtype(), op, ": per_sample_weights are ", scales.dtype(),
                    ", expected weight's ", table.dtype());
}

void check_bag_grad(const NDArray& grad, const kernels::Bags& bags, std::string_view op) {
  check<ShapeError>(grad.ndim() == 2 && grad.shape(0) == bags.count, op, ": gradient ", grad.shape(), " does not fit ",
                    bags.count, " bags");
  check_differentiable(grad.dtype(), op);
}

Tensor apply_bag_op(const char* op, Attributes attributes, std::vector<Tensor> inputs) {
  return thimble::apply(make_op(op, attributes), std::move(inputs));
}

/// grad, index[, offsets][, scales] -> the gradient of weight, zeros in rows that are not used.
class EmbeddingBagBackward final : public Op {
 public:
  EmbeddingBagBackward(BagConfig config, int64_t rows) : config_(config), rows_(rows) {}
  std::string_view name() const override { return "embedding_bag_backward"; }
  InputCount num_inputs() const override { return {2, 4}; }
  Attributes attributes() const override {
    Attributes all = config_.attributes();
    all.set("num_embeddings", rows_);
    return all;
  }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray &grad = inputs[0], &index = inputs[1];
    const kernels::Bags bags = bags_of(index, config_.offsets(inputs, 2), rows_, config_.padding, name());
    check_bag_grad(grad, bags, name());
    const NDArray scales = config_.scales(inputs, 2);
    check_scales(scales, index, grad, config_.mode, name());
    NDArray out = NDArray::zeros({rows_, grad.shape(1)}, grad.dtype());
    kernels::embedding_bag_add(grad.contiguous(), bags, contiguous_or_undefined(scales), config_.mode == BagMode::mean,
                               out);
    return out;
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const Tensor offsets = config_.offsets(inputs, 2), scales = config_.scales(inputs, 2);
    std::vector<Tensor> grads(inputs.size());
    grads[0] = apply_bag_op("embedding_bag", config_.attributes(),
                            BagConfig::with<Tensor>({inputs[1], out_grad}, offsets, scales));
    if (scales.defined())
      grads.back() = apply_bag_op("embedding_bag_weights_backward", config_.attributes(),
                                  BagConfig::with<Tensor>({inputs[0], inputs[1], out_grad}, offsets));
    return grads;
  }

 private:
  BagConfig config_;
  int64_t rows_;
};

/// grad, index, weight[, offsets] -> the gradient of the factors of the rows.
class EmbeddingBagWeightsBackward final : public Op {
 public:
  explicit EmbeddingBagWeightsBackward(BagConfig config) : config_(config) {}
  std::string_view name() const override { return "embedding_bag_weights_backward"; }
  InputCount num_inputs() const override { return {3, 4}; }
  Attributes attributes() const override { return config_.attributes(); }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray &grad = inputs[0], &index = inputs[1], &weight = inputs[2];
    check_table(weight, name());
    const kernels::Bags bags = bags_of(index, config_.offsets(inputs, 3), weight.shape(0), config_.padding, name());
    check_bag_grad(grad, bags, name());
    check<ShapeError>(grad.shape(1) == weight.shape(1) && grad.dtype() == weight.dtype(), name(), ": gradient ",
                      grad.shape(), " does not fit weight ", weight.shape());
    NDArray out(index.shape(), weight.dtype());
    kernels::embedding_bag_dots(grad.contiguous(), weight.contiguous(), bags, out);
    return out;
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const Tensor offsets = config_.offsets(inputs, 3);
    Attributes of_table = config_.attributes();
    of_table.set("num_embeddings", inputs[2].shape(0));
    std::vector<Tensor> grads(inputs.size());
    grads[0] = apply_bag_op("embedding_bag", config_.attributes(),
                            BagConfig::with<Tensor>({inputs[1], inputs[2]}, offsets, out_grad));
    grads[2] = apply_bag_op("embedding_bag_backward", of_table,
                            BagConfig::with<Tensor>({inputs[0], inputs[1]}, offsets, out_grad));
    return grads;
  }

 private:
  BagConfig config_;
};

/// index, weight[, offsets][, scales]
class EmbeddingBag final : public Op {
 public:
  explicit EmbeddingBag(BagConfig config) : config_(config) {}
  std::string_view name() const override { return "embedding_bag"; }
  InputCount num_inputs() const override { return {2, 4}; }
  Attributes attributes() const override { return config_.attributes(); }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray weight = checked_weight(inputs).contiguous();
    const kernels::Bags bags = bags_of(inputs[0], config_.offsets(inputs, 2), weight.shape(0), config_.padding, name());
    NDArray out({bags.count, weight.shape(1)}, weight.dtype());
    if (config_.mode == BagMode::max) {
      rows_ = NDArray(out.shape(), DType::int64);
      kernels::embedding_bag_max(weight, bags, out, &rows_);
    } else {
      kernels::embedding_bag_sum(weight, bags, contiguous_or_undefined(config_.scales(inputs, 2)),
                                 config_.mode == BagMode::mean, out);
    }
    return out;
  }
  bool compute_into(std::span<const NDArray> inputs, NDArray& out) const override {
    const NDArray& weight = checked_weight(inputs);
    for (const NDArray& input : inputs)
      if (!input.is_contiguous()) return false;
    embedding_bag_into(inputs[0], weight, config_.offsets(inputs, 2), config_.scales(inputs, 2), config_.mode,
                       config_.padding, out);
    return true;
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const Tensor &index = inputs[0], &weight = inputs[1];
    std::vector<Tensor> grads(inputs.size());
    if (config_.mode == BagMode::max) {
      grads[1] = gradient_of_max(out_grad, weight.shape());
      return grads;
    }
    const Tensor offsets = config_.offsets(inputs, 2), scales = config_.scales(inputs, 2);
    Attributes of_table = config_.attributes();
    of_table.set("num_embeddings", weight.shape(0));
    if (weight.requires_grad())
      grads[1] = apply_bag_op("embedding_bag_backward", std::move(of_table),
                              BagConfig::with<Tensor>({out_grad, index}, offsets, scales));
    if (scales.defined() && scales.requires_grad())
      grads.back() = apply_bag_op("embedding_bag_weights_backward", config_.attributes(),
                                  BagConfig::with<Tensor>({out_grad, index, weight}, offsets));
    return grads;
  }

 private:
  const NDArray& checked_weight(std::span<const NDArray> inputs) const {
    const NDArray& weight = inputs[1];
    check_table(weight, name());
    check<ValueError>(config_.padding < weight.shape(0), name(), ": padding_idx ", config_.padding,
                      " is out of range for ", weight.shape(0), " embeddings");
    check_scales(config_.scales(inputs, 2), inputs[0], weight, config_.mode, name());
    return weight;
  }

  // Each number goes to the row that it came from; bags without entries came from none.
  Tensor gradient_of_max(const Tensor& out_grad, const Shape& table) const {
    const NDArray has_row = greater_equal(Tensor(rows_), Tensor::scalar(0, DType::int64)).data().to(out_grad.dtype());
    const Tensor rows = maximum(Tensor(rows_), Tensor::scalar(0, DType::int64));
    return apply(make_op("gather_backward", {{"axis", int64_t{0}}, {"shape", table.to_vector()}}),
                 {out_grad * Tensor(has_row), rows});
  }

  BagConfig config_;
  NDArray rows_;  // of maxima, for the gradient
};

const OpRegistration embedding_bag_registrations[] = {
    {"embedding_bag", [](const Attributes& a) { return std::make_unique<EmbeddingBag>(BagConfig(a)); }},
    {"embedding_bag_backward",
     [](const Attributes& a) {
       return std::make_unique<EmbeddingBagBackward>(BagConfig(a), a.get<int64_t>("num_embeddings"));
     }},
    {"embedding_bag_weights_backward",
     [](const Attributes& a) { return std::make_unique<EmbeddingBagWeightsBackward>(BagConfig(a)); }},
};

}  // namespace

std::string_view name(BagMode mode) { return kBagModes[static_cast<size_t>(mode)].second; }

BagMode bag_mode_from_name(std::string_view name) {
  for (const auto& [mode, text] : kBagModes)
    if (text == name) return mode;
  throw ValueError(str("embedding_bag: mode '", name, "' is none of sum, mean and max"));
}

int64_t padding_row(std::optional<int64_t> padding_idx, int64_t rows, std::string_view op) {
  if (!padding_idx) return -1;
  check<ValueError>(*padding_idx >= -rows && *padding_idx < rows, op, ": padding_idx ", *padding_idx,
                    " is out of range for ", rows, " embeddings");
  return *padding_idx + (*padding_idx < 0 ? rows : 0);
}

kernels::Bags bags_of(const NDArray& index, const NDArray& offsets, int64_t rows, int64_t padding,
                      std::string_view op) {
  check<DTypeError>(index.dtype() == DType::int64 || index.dtype() == DType::int32, op,
                    ": index must be int64 or int32, got ", index.dtype());
  const bool is_64 = index.dtype() == DType::int64;
  kernels::Bags bags;
  bags.index = index.contiguous();
  bags.padding = padding;
  is_64 ? check_rows<int64_t>(bags.index, rows, op) : check_rows<int32_t>(bags.index, rows, op);
  if (!offsets.defined()) {
    check<ShapeError>(index.ndim() == 2, op, ": index ", index.shape(),
                      " must be [n, length], or [entries] with offsets");
    bags.count = index.shape(0);
    bags.length = index.shape(1);
    return bags;
  }
  check<ShapeError>(index.ndim() == 1 && offsets.ndim() == 1 && offsets.numel() > 0, op, ": index ", index.shape(),
                    " and offsets ", offsets.shape(), " must be [entries] and [bags], with at least one bag");
  check<DTypeError>(offsets.dtype() == index.dtype(), op, ": offsets are ", offsets.dtype(), ", expected index's ",
                    index.dtype());
  bags.offsets = offsets.contiguous();
  bags.count = offsets.numel();
  is_64 ? check_offsets<int64_t>(bags.offsets, index.numel(), op)
        : check_offsets<int32_t>(bags.offsets, index.numel(), op);
  return bags;
}

void embedding_bag_into(const NDArray& index, const NDArray& weight, const NDArray& offsets, const NDArray& scales,
                        BagMode mode, int64_t padding, NDArray& out) {
  const kernels::Bags bags = bags_of(index, offsets, weight.shape(0), padding, "embedding_bag");
  if (mode == BagMode::max)
    kernels::embedding_bag_max(weight, bags, out, nullptr);
  else
    kernels::embedding_bag_sum(weight, bags, scales, mode == BagMode::mean, out);
}

Tensor embedding_bag(const Tensor& index, const Tensor& weight, const Tensor& offsets, const Tensor& per_sample_weights,
                     EmbeddingBagOptions options) {
  check<ShapeError>(weight.ndim() == 2, "embedding_bag: weight must be [num_embeddings, dim], got ", weight.shape());
  const BagConfig config(options.mode, padding_row(options.padding_idx, weight.shape(0), "embedding_bag"),
                         offsets.defined());
  return thimble::apply(std::make_unique<EmbeddingBag>(config),
                        BagConfig::with<Tensor>({index, weight}, offsets, per_sample_weights));
}

Tensor embedding_bag(const Tensor& index, const Tensor& weight, const Tensor& offsets, EmbeddingBagOptions options) {
  return embedding_bag(index, weight, offsets, Tensor(), options);
}

Tensor embedding_bag(const Tensor& index, const Tensor& weight, EmbeddingBagOptions options) {
  return embedding_bag(index, weight, Tensor(), Tensor(), options);
}

}  // namespace thimble
