// Embedding: rows of a table, by index.
#pragma once

#include <thimble/core/api.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

/// index [...] (int64 or int32) -> [..., embedding_dim]; weight [num_embeddings, embedding_dim], standard normal at
/// first.
class THIMBLE_API Embedding : public Module {
 public:
  Embedding(int64_t num_embeddings, int64_t embedding_dim);
  explicit Embedding(Tensor weight);
  Tensor forward(const Tensor& index) override;
  bool is_per_sample() const override { return true; }
  std::string type() const override { return "Embedding"; }
  Attributes attributes() const override;

  const Tensor weight;
};

}  // namespace thimble::nn
