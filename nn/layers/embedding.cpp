#include <thimble/core/kernels/elementwise/indexing.h>
#include <thimble/core/ops/embedding_bag.h>
#include <thimble/nn/inference/inference.h>
#include <thimble/nn/init.h>
#include <thimble/nn/layers/embedding.h>

namespace thimble::nn {

namespace {

Tensor table_of(const Attributes& a, const char* type) {
  const auto rows = a.get<int64_t>("num_embeddings"), columns = a.get<int64_t>("embedding_dim");
  check<FormatError>(rows > 0 && columns > 0, type, ": num_embeddings ", rows, " and embedding_dim ", columns,
                     " must be at least 1");
  return NDArray::placeholder({rows, columns});
}

std::optional<int64_t> padding_of(const Attributes& a, const char* type) {
  if (!a.contains("padding_idx")) return {};
  const auto row = a.get<int64_t>("padding_idx");
  check<FormatError>(row >= 0 && row < a.get<int64_t>("num_embeddings"), type, ": padding_idx ", row,
                     " is no row of the table");
  return row;
}

BagMode mode_of(const Attributes& a) {
  try {
    return bag_mode_from_name(a.get<std::string>("mode"));
  } catch (const ValueError& e) {
    throw FormatError(e.what());
  }
}

const LayerRegistration embedding_registrations[] = {
    {"Embedding",
     [](const Attributes& a) {
       return std::make_shared<Embedding>(table_of(a, "Embedding"), Embedding::Options{padding_of(a, "Embedding")});
     }},
    {"EmbeddingBag",
     [](const Attributes& a) {
       return std::make_shared<EmbeddingBag>(table_of(a, "EmbeddingBag"),
                                             EmbeddingBag::Options{mode_of(a), padding_of(a, "EmbeddingBag")});
     }},
};

// Standard normal, 0 in the padding's row.
Tensor new_table(const char* type, int64_t rows, int64_t columns, std::optional<int64_t> padding_idx) {
  check<ValueError>(rows > 0 && columns > 0, type, ": num_embeddings ", rows, " and embedding_dim ", columns,
                    " must be at least 1");
  NDArray table = init::normal({rows, columns}, 0, 1);
  const int64_t padding = padding_row(padding_idx, rows, type);
  if (padding >= 0) table.slice(0, padding, padding + 1).fill(0);
  return table;
}

std::optional<int64_t> checked_padding(const Tensor& table, std::optional<int64_t> padding_idx, const char* type) {
  check<ShapeError>(table.ndim() == 2, type, ": weight must be [num_embeddings, embedding_dim], got ", table.shape());
  if (!padding_idx) return {};
  return padding_row(padding_idx, table.shape(0), type);
}

Attributes table_attributes(const Tensor& table, std::optional<int64_t> padding_idx) {
  Attributes all{{"num_embeddings", table.shape(0)}, {"embedding_dim", table.shape(1)}};
  if (padding_idx) all.set("padding_idx", *padding_idx);
  return all;
}

bool is_index(const ValueInfo& x) {
  return (x.dtype == DType::int64 || x.dtype == DType::int32) && x.lies_as_usual() && !x.is_image();
}

// Nothing is converted, nothing allocated: rows that int32 numbers are bags of one entry each.
class EmbeddingStep : public InferenceStep {
 public:
  EmbeddingStep(ValueInfo output, const ValueInfo& index, const Tensor& table)
      : InferenceStep(std::move(output)), index_(index), table_(table.data().contiguous()) {
    index_.shape = {index.shape.numel(), 1};
  }

  bool is_per_sample() const override { return !index_.is_constant; }

  void run(std::span<const void* const> inputs, void* output, uint8_t*) const override {
    NDArray out = NDArray::borrow(output, {index_.shape[0], table_.shape(1)}, table_.dtype(), nullptr);
    const kernels::Bags rows =
        bags_of(array_over(inputs[0], index_), NDArray(), table_.shape(0), kNoPadding, "embedding");
    if (rows.index.dtype() == DType::int64)
      kernels::index_select(table_, 0, rows.index, out);
    else
      kernels::embedding_bag_sum(table_, rows, NDArray(), false, out);
  }

 private:
  static constexpr int64_t kNoPadding = -1;

  ValueInfo index_;
  NDArray table_;
};

class EmbeddingBagStep : public InferenceStep {
 public:
  EmbeddingBagStep(ValueInfo output, std::span<const ValueInfo> inputs, const Tensor& table,
                   const EmbeddingBagOptions& options)
      : InferenceStep(std::move(output)),
        index_(inputs[0]),
        table_(table.data().contiguous()),
        mode_(options.mode),
        padding_(options.padding_idx.value_or(-1)) {
    for (const ValueInfo& input : inputs.subspan(1)) (is_index(input) ? offsets_ : scales_) = input;
  }

  // Offsets number the entries of the whole batch.
  bool is_per_sample() const override { return !offsets_ && !index_.is_constant && !(scales_ && scales_->is_constant); }

  void run(std::span<const void* const> inputs, void* output, uint8_t*) const override {
    NDArray out = array_over(output, this->output());
    const NDArray offsets = offsets_ ? array_over(inputs[1], *offsets_) : NDArray();
    const NDArray scales = scales_ ? array_over(inputs.back(), *scales_) : NDArray();
    embedding_bag_into(array_over(inputs[0], index_), table_, offsets, scales, mode_, padding_, out);
  }

 private:
  ValueInfo index_;
  std::optional<ValueInfo> offsets_, scales_;
  NDArray table_;
  BagMode mode_;
  int64_t padding_;
};

}  // namespace

Embedding::Embedding(int64_t num_embeddings, int64_t embedding_dim, Options options)
    : Embedding(new_table("Embedding", num_embeddings, embedding_dim, options.padding_idx), options) {}

Embedding::Embedding(Tensor table, Options options)
    : weight(register_parameter("weight", std::move(table))),
      padding_idx_(checked_padding(weight, options.padding_idx, "Embedding")) {}

Tensor Embedding::forward(const Tensor& index) { return embedding(index, weight, padding_idx_); }

std::unique_ptr<InferenceStep> Embedding::inference_step(std::span<const ValueInfo> inputs) const {
  if (inputs.size() != 1 || !is_index(inputs[0]) || weight.dtype() != DType::float32) return nullptr;
  Shape shape = inputs[0].shape;
  shape.push_back(weight.shape(1));
  if (shape.ndim() == 4) return nullptr;  // which lies channels-last
  return std::make_unique<EmbeddingStep>(ValueInfo{shape, weight.dtype()}, inputs[0], weight);
}

Attributes Embedding::attributes() const { return table_attributes(weight, padding_idx_); }

EmbeddingBag::EmbeddingBag(int64_t num_embeddings, int64_t embedding_dim, Options options)
    : EmbeddingBag(new_table("EmbeddingBag", num_embeddings, embedding_dim, options.padding_idx), options) {}

EmbeddingBag::EmbeddingBag(Tensor table, Options options)
    : weight(register_parameter("weight", std::move(table))),
      options_{options.mode, checked_padding(weight, options.padding_idx, "EmbeddingBag")} {}

Tensor EmbeddingBag::forward_all(std::span<const Tensor> inputs) {
  check<ValueError>(!inputs.empty() && inputs.size() <= 3, "EmbeddingBag: expects an index, offsets and weights, got ",
                    inputs.size(), " inputs");
  for (const Tensor& x : inputs) check<ValueError>(x.defined(), "EmbeddingBag: an input is undefined; leave it out");
  const bool has_weights = inputs.size() > 1 && is_floating_point(inputs.back().dtype());
  const bool has_offsets = inputs.size() > 1 + size_t{has_weights};
  check<DTypeError>(inputs.size() < 3 || has_weights, "EmbeddingBag: per_sample_weights are ", inputs.back().dtype(),
                    ", expected floats");
  return embedding_bag(inputs[0], weight, has_offsets ? inputs[1] : Tensor(), has_weights ? inputs.back() : Tensor(),
                       options_);
}

std::unique_ptr<InferenceStep> EmbeddingBag::inference_step(std::span<const ValueInfo> inputs) const {
  const bool has_scales = inputs.size() > 1 && inputs.back().dtype == weight.dtype();
  const size_t integers = inputs.size() - has_scales;
  bool fits = weight.dtype() == DType::float32 && (integers == 1 || integers == 2) && inputs.back().lies_as_usual();
  for (const ValueInfo& x : inputs.first(integers)) fits = fits && is_index(x) && x.dtype == inputs[0].dtype;
  const Shape& index = fits ? inputs[0].shape : Shape();
  fits = fits && index.ndim() == (integers == 1 ? 2 : 1);
  if (has_scales) fits = fits && options_.mode == BagMode::sum && inputs.back().shape == index;
  if (integers == 2) fits = fits && inputs[1].shape.ndim() == 1 && inputs[1].shape[0] > 0;
  if (!fits) return nullptr;
  const int64_t bags = integers == 2 ? inputs[1].shape[0] : index[0];
  return std::make_unique<EmbeddingBagStep>(ValueInfo{{bags, weight.shape(1)}, weight.dtype()}, inputs, weight,
                                            options_);
}

Attributes EmbeddingBag::attributes() const {
  Attributes all = table_attributes(weight, options_.padding_idx);
  all.set("mode", std::string(thimble::name(options_.mode)));
  return all;
}

}  // namespace thimble::nn
