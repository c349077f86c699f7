#include <thimble/core/kernels/elementwise/indexing.h>
#include <thimble/core/ops/embedding_bag.h>
#include <thimble/nn/inference/embedding_steps.h>
#include <thimble/nn/init.h>
#include <thimble/nn/layers/embedding.h>

namespace thimble::nn {

namespace {

constexpr int64_t kNoPadding = -1;

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

}  // namespace

Embedding::Embedding(int64_t num_embeddings, int64_t embedding_dim, Options options)
    : Embedding(new_table("Embedding", num_embeddings, embedding_dim, options.padding_idx), options) {}

Embedding::Embedding(Tensor table, Options options)
    : weight(register_parameter("weight", std::move(table))),
      padding_idx_(checked_padding(weight, options.padding_idx, "Embedding")) {}

Tensor Embedding::forward(const Tensor& index) { return embedding(index, weight, padding_idx_); }

std::unique_ptr<InferenceStep> Embedding::inference_step(std::span<const ValueInfo> inputs) const {
  if (weight.dtype() != DType::float32) return nullptr;
  return embedding_step(inputs, weight.shape(1),
                        [table = weight.data().contiguous()](const NDArray& index, NDArray& out) {
                          const kernels::Bags rows = bags_of(index, NDArray(), table.shape(0), kNoPadding, "embedding");
                          if (index.dtype() == DType::int64)
                            kernels::index_select(table, 0, rows.index, out);
                          else
                            kernels::embedding_bag_sum(table, rows, NDArray(), false, out);
                        });
}

Attributes Embedding::attributes() const { return table_attributes(weight, padding_idx_); }

EmbeddingBag::EmbeddingBag(int64_t num_embeddings, int64_t embedding_dim, Options options)
    : EmbeddingBag(new_table("EmbeddingBag", num_embeddings, embedding_dim, options.padding_idx), options) {}

EmbeddingBag::EmbeddingBag(Tensor table, Options options)
    : weight(register_parameter("weight", std::move(table))),
      options_{options.mode, checked_padding(weight, options.padding_idx, "EmbeddingBag")} {}

Tensor EmbeddingBag::forward_all(std::span<const Tensor> inputs) {
  const auto [index, offsets, scales] = BagInputs::from("EmbeddingBag", inputs);
  return embedding_bag(index, weight, offsets, scales, options_);
}

std::unique_ptr<InferenceStep> EmbeddingBag::inference_step(std::span<const ValueInfo> inputs) const {
  if (weight.dtype() != DType::float32) return nullptr;
  return embedding_bag_step(
      inputs, weight.shape(1), options_.mode,
      [table = weight.data().contiguous(), mode = options_.mode, padding = options_.padding_idx.value_or(kNoPadding)](
          const NDArray& index, const NDArray& offsets, const NDArray& scales, NDArray& out) {
        embedding_bag_into(index, table, offsets, scales, mode, padding, out);
      });
}

Attributes EmbeddingBag::attributes() const {
  Attributes all = table_attributes(weight, options_.padding_idx);
  all.set("mode", std::string(thimble::name(options_.mode)));
  return all;
}

}  // namespace thimble::nn
