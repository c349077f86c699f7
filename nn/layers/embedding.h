// Embedding: rows of a table, by index. EmbeddingBag: sums, means or maxima of several.
//
//   nn::Submodule<nn::EmbeddingBag> words{this, "words", 5000, 64, {.padding_idx = 0}};  // [n, length] -> [n, 64]
#pragma once

#include <optional>

#include <thimble/core/api.h>
#include <thimble/core/ops/embedding.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

/// index [...] (int64 or int32) -> [..., embedding_dim]; weight [num_embeddings, embedding_dim], standard normal at
/// first, but for the row padding_idx, which is 0 and gets no gradient.
class THIMBLE_API Embedding : public Module {
 public:
  /// What may follow the sizes or the table.
  struct Options {
    std::optional<int64_t> padding_idx = {};  ///< negative: from the end
  };

  /// Throws ValueError for sizes below 1 and a padding_idx out of range.
  Embedding(int64_t num_embeddings, int64_t embedding_dim, Options options);
  Embedding(int64_t num_embeddings, int64_t embedding_dim) : Embedding(num_embeddings, embedding_dim, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  Embedding(int64_t num_embeddings, int64_t embedding_dim, ...) = delete;
  /// With this table, whose rows stay as they are, padding_idx's, too.
  Embedding(Tensor table, Options options);
  explicit Embedding(Tensor table) : Embedding(std::move(table), Options()) {}
  Tensor forward(const Tensor& index) override;
  bool is_per_sample() const override { return true; }
  std::unique_ptr<InferenceStep> inference_step(std::span<const ValueInfo> inputs) const override;
  std::string type() const override { return "Embedding"; }
  Attributes attributes() const override;

  /// Counted from the beginning.
  std::optional<int64_t> padding_idx() const { return padding_idx_; }

  const Tensor weight;

 private:
  std::optional<int64_t> padding_idx_;
};

/// embedding_bag() with a table of its own: an index [n, length] -> [n, embedding_dim], or an index [entries] and
/// offsets [bags] -> [bags, embedding_dim]. Factors of the rows (per_sample_weights), of index's shape, may come last:
/// layer(index), layer(index, offsets), layer(index, weights) or layer(index, offsets, weights). weight
/// [num_embeddings, embedding_dim], standard normal at first, but for the row padding_idx, which is 0, gets no gradient
/// and does not count.
class THIMBLE_API EmbeddingBag : public Module {
 public:
  /// What may follow the sizes or the table.
  using Options = EmbeddingBagOptions;

  /// Throws ValueError for sizes below 1 and a padding_idx out of range.
  EmbeddingBag(int64_t num_embeddings, int64_t embedding_dim, Options options);
  EmbeddingBag(int64_t num_embeddings, int64_t embedding_dim)
      : EmbeddingBag(num_embeddings, embedding_dim, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  EmbeddingBag(int64_t num_embeddings, int64_t embedding_dim, ...) = delete;
  /// With this table, whose rows stay as they are.
  EmbeddingBag(Tensor table, Options options);
  explicit EmbeddingBag(Tensor table) : EmbeddingBag(std::move(table), Options()) {}
  Tensor forward_all(std::span<const Tensor> inputs) override;
  std::unique_ptr<InferenceStep> inference_step(std::span<const ValueInfo> inputs) const override;
  std::string type() const override { return "EmbeddingBag"; }
  Attributes attributes() const override;

  BagMode mode() const { return options_.mode; }
  /// Counted from the beginning.
  std::optional<int64_t> padding_idx() const { return options_.padding_idx; }

  const Tensor weight;

 private:
  Options options_;
};

}  // namespace thimble::nn
