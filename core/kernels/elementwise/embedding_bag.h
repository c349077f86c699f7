// Sums, means and maxima of rows of a table, and their gradients. Indices must have been checked. Everything is added
// in the order of the entries, on any number of threads and whatever the other bags are.
#pragma once

#include <thimble/core/ndarray.h>

namespace thimble::kernels {

/// Which entries of an index are in which of `count` bags.
struct Bags {
  NDArray index;       ///< rows of the table, int64 or int32, contiguous
  NDArray offsets;     ///< the first entry of each bag, of index's dtype, contiguous; undefined if all are of `length`
  int64_t count = 0;   ///< bags
  int64_t length = 0;  ///< of each bag, where there are no offsets
  int64_t padding = -1;  ///< the row whose entries do not count; -1: none
};

// Arrays are contiguous and float32 or float64, all of one dtype. `scales` [entries] are factors of the entries, or
// undefined.

/// out[b] = the sum of scales[i] * weight[index[i]] over bag b's entries, or their mean. 0 for a bag without any.
void embedding_bag_sum(const NDArray& weight, const Bags& bags, const NDArray& scales, bool mean, NDArray& out);

/// The largest of each column, 0 for a bag without entries; `rows` (int64, or null) says which row it is of, the first
/// of several, or -1.
void embedding_bag_max(const NDArray& weight, const Bags& bags, NDArray& out, NDArray* rows);

/// The transpose of embedding_bag_sum: out[index[i]] += scales[i] * grad[the bag of i], for the mean divided by the
/// number of the bag's entries. Sums of very many terms are formed in float64.
void embedding_bag_add(const NDArray& grad, const Bags& bags, const NDArray& scales, bool mean, NDArray& out);

/// out[i] = the dot product of weight[index[i]] and grad[the bag of i]; 0 for an entry that does not count.
void embedding_bag_dots(const NDArray& grad, const NDArray& weight, const Bags& bags, NDArray& out);

}  // namespace thimble::kernels
