#include "apps/report/layered_layout.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace thimble::apps {

namespace {

constexpr int kSweeps = 8;
constexpr size_t kMostPoints = 20000;
constexpr double kNodeWeight = 4, kPointWeight = 1;  // chains of nodes are straight rather than edges past them

// Nodes, and behind them the points of edges.
struct Place {
  int row = 0;
  double x = 0, weight = kNodeWeight;
  std::vector<size_t> above = {}, below = {};
};

class Layering {
 public:
  explicit Layering(const std::vector<std::vector<size_t>>& inputs) : inputs_(inputs), places_(inputs.size()) {
    for (size_t i = 0; i < inputs.size(); ++i)
      for (const size_t input : inputs[i]) places_[i].row = std::max(places_[i].row, places_[input].row + 1);
    has_points_ = points_needed() <= kMostPoints;
    for (size_t i = 0; i < inputs.size(); ++i)
      for (const size_t input : inputs[i]) connect(input, i);
    for (size_t i = 0; i < places_.size(); ++i) {
      const auto row = static_cast<size_t>(places_[i].row);
      if (rows_.size() <= row) rows_.resize(row + 1);
      rows_[row].push_back(i);
    }
  }

  GraphLayout result() {
    for (std::vector<size_t>& row : rows_) spread(row);
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
      const bool down = sweep % 2 == 0;
      for (size_t i = 1; i < rows_.size(); ++i)
        settle(rows_[down ? i : rows_.size() - 1 - i], down, sweep < kSweeps / 2);
    }
    return drawn();
  }

 private:
  size_t points_needed() const {
    std::vector<int> farthest(inputs_.size());
    for (size_t i = 0; i < inputs_.size(); ++i)
      for (const size_t input : inputs_[i]) farthest[input] = std::max(farthest[input], places_[i].row);
    size_t points = 0;
    for (size_t i = 0; i < inputs_.size(); ++i)
      points += static_cast<size_t>(std::max(0, farthest[i] - places_[i].row - 1));
    return points;
  }

  void connect(size_t from, size_t to) {
    size_t above = from;
    for (int row = places_[from].row + 1; has_points_ && row < places_[to].row; ++row) {
      const auto [it, is_new] = points_.try_emplace({from, row}, places_.size());
      if (is_new) {
        places_.push_back({.row = row, .weight = kPointWeight});
        link(above, it->second);
      }
      above = it->second;
    }
    link(above, to);
  }

  void link(size_t above, size_t below) {
    places_[above].below.push_back(below);
    places_[below].above.push_back(above);
  }

  void spread(const std::vector<size_t>& row) {
    for (size_t i = 0; i < row.size(); ++i)
      places_[row[i]].x = static_cast<double>(i) - static_cast<double>(row.size() - 1) / 2;
  }

  double wanted(size_t i, bool down) const {
    const std::vector<size_t>& neighbours = down ? places_[i].above : places_[i].below;
    double sum = 0, weights = 0;
    for (const size_t neighbour : neighbours) {
      sum += places_[neighbour].weight * places_[neighbour].x;
      weights += places_[neighbour].weight;
    }
    return weights > 0 ? sum / weights : places_[i].x;
  }

  // Puts a row's places as near as possible, in squares of distances, to those that they want: after the unit between
  // neighbours is taken off, that is the best rising sequence (pool adjacent violators).
  void settle(std::vector<size_t>& row, bool down, bool reorder) {
    std::map<size_t, double> wants;
    for (const size_t i : row) wants[i] = wanted(i, down);
    if (reorder) std::ranges::stable_sort(row, {}, [&](size_t i) { return wants[i]; });
    struct Block {
      double sum, weight;
      size_t count;
      double mean() const { return sum / weight; }
    };
    std::vector<Block> blocks;
    for (size_t k = 0; k < row.size(); ++k) {
      const double weight = places_[row[k]].weight;
      blocks.push_back({weight * (wants[row[k]] - static_cast<double>(k)), weight, 1});
      while (blocks.size() > 1 && blocks[blocks.size() - 2].mean() > blocks.back().mean()) {
        const Block last = blocks.back();
        blocks.pop_back();
        blocks.back().sum += last.sum;
        blocks.back().weight += last.weight;
        blocks.back().count += last.count;
      }
    }
    size_t k = 0;
    for (const Block& block : blocks)
      for (size_t i = 0; i < block.count; ++i, ++k) places_[row[k]].x = block.mean() + static_cast<double>(k);
  }

  LayoutPoint point(size_t i, double left) const { return {places_[i].x - left, places_[i].row}; }

  GraphLayout drawn() const {
    GraphLayout layout;
    layout.rows = static_cast<int>(rows_.size());
    if (places_.empty()) return layout;
    const auto [min, max] = std::ranges::minmax(places_, {}, &Place::x);
    const double left = min.x;
    layout.width = max.x - left;
    for (size_t i = 0; i < inputs_.size(); ++i) layout.nodes.push_back(point(i, left));
    for (size_t i = 0; i < inputs_.size(); ++i)
      for (const size_t input : inputs_[i]) {
        LayoutEdge& edge = layout.edges.emplace_back(LayoutEdge{input, i, {point(input, left)}});
        for (int row = places_[input].row + 1; has_points_ && row < places_[i].row; ++row)
          edge.points.push_back(point(points_.at({input, row}), left));
        edge.points.push_back(point(i, left));
      }
    return layout;
  }

  const std::vector<std::vector<size_t>>& inputs_;
  std::vector<Place> places_;
  std::map<std::pair<size_t, int>, size_t> points_;  // of a node's edges, by row
  bool has_points_ = true;
  std::vector<std::vector<size_t>> rows_;
};

}  // namespace

GraphLayout layered_layout(const std::vector<std::vector<size_t>>& inputs) { return Layering(inputs).result(); }

}  // namespace thimble::apps
