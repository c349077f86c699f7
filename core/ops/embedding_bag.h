// What embedding_bag, its op and its inference step share. Internal.
#pragma once

#include <optional>

#include <thimble/core/kernels/elementwise/embedding_bag.h>
#include <thimble/core/ops/embedding.h>

namespace thimble {

/// padding_idx counted from the beginning, -1 for none. Throws ValueError, beginning with `op`, if it is out of range.
int64_t padding_row(std::optional<int64_t> padding_idx, int64_t rows, std::string_view op);

/// The bags of an index, with offsets or, where they are undefined, without. Checks both, for a table of so many rows;
/// errors begin with `op`. Takes no memory for arrays that are contiguous.
kernels::Bags bags_of(const NDArray& index, const NDArray& offsets, int64_t rows, int64_t padding, std::string_view op);

/// embedding_bag() of arrays that are contiguous, to `out`; offsets and scales may be undefined. Checks the index.
void embedding_bag_into(const NDArray& index, const NDArray& weight, const NDArray& offsets, const NDArray& scales,
                        BagMode mode, int64_t padding, NDArray& out);

}  // namespace thimble
