// Rows of a table by index, and sums, means and maxima of several. Indices are int64 or int32; one out of range throws
// ValueError that names it.
//
//   const Tensor words = embedding(tokens, table, /*padding_idx=*/0);                   // [n, length, dim]
//   const Tensor texts = embedding_bag(tokens, table, {.mode = BagMode::mean, .padding_idx = 0});  // [n, dim]
#pragma once

#include <optional>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// Rows of weight [num_embeddings, dim] for an index of any shape: [index shape..., dim]. The row padding_idx
/// (negative: from the end) is read like any other and gets no gradient. Throws ValueError if it is out of range.
THIMBLE_API Tensor embedding(const Tensor& index, const Tensor& weight, std::optional<int64_t> padding_idx = {});

/// What embedding_bag() makes of a bag's rows.
enum class BagMode { sum, mean, max };

/// "sum", "mean" or "max"; the inverse throws ValueError for another name.
THIMBLE_API std::string_view name(BagMode mode);
THIMBLE_API BagMode bag_mode_from_name(std::string_view name);

/// What may follow embedding_bag()'s tensors.
struct THIMBLE_API EmbeddingBagOptions {
  BagMode mode = BagMode::mean;
  /// A row whose entries do not count, as if they were not there, and which gets no gradient; negative: from the end.
  std::optional<int64_t> padding_idx = {};
};

/// The sums, means or maxima of rows of weight [num_embeddings, dim], float32 or float64, without the rows themselves
/// in memory: [bags, dim]. With an index [n, length], each of its n rows is a bag. With an index [entries], bag b is
/// what lies between offsets[b] and offsets[b + 1], or the end: offsets [bags], of index's dtype, begin at 0 and do not
/// descend. A bag without entries gives 0. The gradient of a maximum goes to the first row that has it.
/// per_sample_weights, of index's shape and weight's dtype, are factors of the rows, for BagMode::sum alone. Throws
/// ShapeError, DTypeError, or ValueError for offsets, options and indices that do not fit.
THIMBLE_API Tensor embedding_bag(const Tensor& index, const Tensor& weight, EmbeddingBagOptions options = {});
THIMBLE_API Tensor embedding_bag(const Tensor& index, const Tensor& weight, const Tensor& offsets,
                                 EmbeddingBagOptions options = {});
THIMBLE_API Tensor embedding_bag(const Tensor& index, const Tensor& weight, const Tensor& offsets,
                                 const Tensor& per_sample_weights, EmbeddingBagOptions options = {});

}  // namespace thimble
