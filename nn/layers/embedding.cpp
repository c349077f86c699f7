#include <thimble/core/ops/indexing.h>
#include <thimble/nn/init.h>
#include <thimble/nn/layers/embedding.h>

namespace thimble::nn {

namespace {

const LayerRegistration embedding_registration{
    "Embedding", [](const Attributes& a) {
      return std::make_shared<Embedding>(
          NDArray::placeholder({a.get<int64_t>("num_embeddings"), a.get<int64_t>("embedding_dim")}));
    }};

Shape table_shape(int64_t rows, int64_t columns) {
  check<ValueError>(rows > 0 && columns > 0, "Embedding: num_embeddings ", rows, " and embedding_dim ", columns,
                    " must be at least 1");
  return {rows, columns};
}

}  // namespace

Embedding::Embedding(int64_t num_embeddings, int64_t embedding_dim)
    : Embedding(Tensor(init::normal(table_shape(num_embeddings, embedding_dim), 0, 1))) {}

Embedding::Embedding(Tensor table) : weight(register_parameter("weight", std::move(table))) {}

Tensor Embedding::forward(const Tensor& index) { return embedding(index, weight); }

Attributes Embedding::attributes() const {
  return {{"num_embeddings", weight.shape(0)}, {"embedding_dim", weight.shape(1)}};
}

}  // namespace thimble::nn
