// Where the nodes of a drawn graph lie: in rows from top to bottom, each below all that it reads.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace thimble::apps {

struct LayoutPoint {
  double x = 0;  ///< in widths of a node
  int row = 0;
};

struct LayoutEdge {
  size_t from = 0, to = 0;
  std::vector<LayoutPoint> points;  ///< from one node to the other, with a bend in each row between
};

struct GraphLayout {
  std::vector<LayoutPoint> nodes;
  std::vector<LayoutEdge> edges;
  double width = 0;  ///< x is from 0 to width
  int rows = 0;
};

/// As Sugiyama, Tagawa and Toda (1981): a node's row is the longest path to it; edges across rows go through points
/// that take up room as nodes do; the order within a row is that of the means of what they are connected to, and so
/// are places, as far as none overlaps another. Nodes that read the same value share its points.
///
/// inputs[i] are the nodes that node i reads, all of them smaller than i. Takes no more than some seconds for any
/// graph: where points would be too many, edges are straight.
GraphLayout layered_layout(const std::vector<std::vector<size_t>>& inputs);

}  // namespace thimble::apps
