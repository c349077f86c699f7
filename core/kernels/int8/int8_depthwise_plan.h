// How depthwise sums divide an image: rows into groups that are interleaved, columns into tiles. In an anonymous
// namespace for the reason given in int8_depthwise_loops.h.
#pragma once

#include <thimble/core/kernels/int8/int8_depthwise_rows.h>

namespace thimble::kernels {
namespace {

constexpr int kBlock = 4;                  // columns of outputs that are summed up at once
constexpr int64_t kTileBytes = 24 * 1024;  // of interleaved rows: half of a first level cache
constexpr int64_t kRowSlack = kWidestDepthwisePanel;

inline int64_t blocks_of(int64_t columns) { return (columns + kBlock - 1) / kBlock; }

// Kernels of one row, whose groups would be of one row and zeros: a group's rows become the same row of the image, each
// so many columns further on than the one in front that it is the next tap's. So there are fewer taps, further apart.
// Of wide kernels; of others only where there is no other row, as groups of different rows serve more than one row of
// outputs.
class FoldedTaps {
 public:
  // s lives as long.
  FoldedTaps(const Int8DepthwiseShape& s, int rows_of_group)
      : are_folded(s.rows.taps == 1 && (s.columns.taps > rows_of_group || s.rows.size == 1)), shape_(s) {
    if (!are_folded) return;
    shift = s.columns.dilation;
    folded_ = s;
    folded_.rows.taps = rows_of_group;
    folded_.rows.dilation = 0;
    folded_.columns.taps = (s.columns.taps + rows_of_group - 1) / rows_of_group;
    folded_.columns.dilation *= rows_of_group;
  }
  // Of the kernel that it becomes.
  const Int8DepthwiseShape& shape() const { return are_folded ? folded_ : shape_; }

  bool are_folded;
  int64_t shift = 0;  // columns from one row of a group to the next

 private:
  const Int8DepthwiseShape& shape_;
  Int8DepthwiseShape folded_;
};

// How rows of outputs share groups of interleaved rows, which lie dilation apart.
template <typename V>
struct RowGroups {
  int64_t outputs = 1;  // rows of outputs that are computed with the same groups
  int64_t used;         // groups that each of them sees
  int64_t all;          // groups that they see together

  explicit RowGroups(const Int8DepthwiseAxis& rows) : used(groups_of(rows.taps)) {
    // Of groups of four rows there are no more than what one row of outputs uses, whose last rows others see, too. Of
    // groups of two some more.
    if (rows.dilation == 1) outputs = V::kRows == 4 ? (used * 4 - rows.taps) / rows.stride + 1 : 4;
    if (V::kRows == 2 && outputs > 1 && rows.stride % 2 != 0) used = groups_of(rows.taps + 1);
    all = first(rows, outputs - 1) + used;
  }
  static int64_t groups_of(int64_t rows) { return (rows + V::kRows - 1) / V::kRows; }
  // Of those that the output-th row of outputs uses.
  int64_t first(const Int8DepthwiseAxis& rows, int64_t output) const {
    return V::kRows == 4 ? 0 : output * rows.stride / V::kRows;
  }
};

// A tile's columns.
template <typename V>
struct Tile {
  int64_t outputs;  // a multiple of kBlock
  int64_t columns;  // of the image that they see

  explicit Tile(const Int8DepthwiseShape& s) {
    const int64_t most = kTileBytes / (RowGroups<V>(s.rows).all * V::kQuarters * V::kRegisterBytes);
    const int64_t blocks = blocks_of(s.width), fit = ((most - seen_by(s.columns, 1)) / s.columns.stride + 1) / kBlock;
    const int64_t tiles = fit > 0 ? (blocks + fit - 1) / fit : blocks;
    outputs = tiles > 0 ? (blocks + tiles - 1) / tiles * kBlock : kBlock;
    columns = seen_by(s.columns, outputs);
  }
  static int64_t seen_by(const Int8DepthwiseAxis& axis, int64_t outputs) {
    return (outputs - 1) * axis.stride + (axis.taps - 1) * axis.dilation + 1;
  }
};

// Where the parts of a panel's scratch memory lie, in bytes.
template <typename V>
struct ScratchLayout {
  int64_t quarters, rows, end, row_bytes;

  ScratchLayout(const Int8DepthwiseShape& s, const FoldedTaps& taps, const Tile<V>& tile)
      : quarters(RowGroups<V>(s.rows).all * tile.columns * V::kQuarters * V::kRegisterBytes),
        rows(quarters + tile.outputs * V::kRegisterBytes) {
    // A folded row may be very long: of it there is one copy, of what a tile sees.
    const int64_t columns = taps.are_folded ? tile.columns + (V::kRows - 1) * taps.shift : s.columns.size;
    row_bytes = columns * s.channels + kRowSlack;
    end = rows + (s.channels < V::kChannels ? (taps.are_folded ? 1 : V::kRows) * row_bytes : 0);
  }
};

}  // namespace
}  // namespace thimble::kernels
