#include "apps/report/value_histograms.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "apps/report/weight_bits.h"
#include <thimble/nn/graph/node_type.h>
#include <thimble/quant/analysis/node_values.h>
#include <thimble/quant/observers/histogram.h>

namespace thimble::apps {

namespace {

using nn::Node;
using quant::TensorQParams;

constexpr int64_t kMostBins = 64;

int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

// From the first count that is not 0 to behind the last.
std::pair<int64_t, int64_t> used_part(const std::vector<int64_t>& counts) {
  const auto used = [](int64_t count) { return count > 0; };
  return {std::ranges::find_if(counts, used) - counts.begin(),
          std::find_if(counts.rbegin(), counts.rend(), used).base() - counts.begin()};
}

// What is drawn of counts on a grid of bins `width` wide, of which the first begins at `first` widths: neighbours are
// added up until few enough are left.
nlohmann::json merged(const std::vector<int64_t>& counts, int64_t first, double width) {
  const auto [begin, end] = used_part(counts);
  if (begin >= end) return {{"low", 0}, {"width", width}, {"counts", nlohmann::json::array()}};
  const int64_t low = first + begin, high = first + end - 1;
  int64_t factor = 1;
  while (floor_div(high, factor) - floor_div(low, factor) + 1 > kMostBins) factor *= 2;
  const int64_t first_bin = floor_div(low, factor);
  std::vector<int64_t> bins(static_cast<size_t>(floor_div(high, factor) - first_bin + 1));
  for (int64_t i = low; i <= high; ++i)
    bins[static_cast<size_t>(floor_div(i, factor) - first_bin)] += counts[static_cast<size_t>(i - first)];
  const double merged_width = width * static_cast<double>(factor);
  return {{"low", static_cast<double>(first_bin) * merged_width}, {"width", merged_width}, {"counts", std::move(bins)}};
}

NDArray finite_part(const NDArray& values) {
  std::vector<float> finite = values.to_vector<float>();
  std::erase_if(finite, [](float value) { return !std::isfinite(value); });
  return NDArray::from_vector(finite);
}

// Of floats; what is not finite does not count.
class FloatCounts {
 public:
  void add(const NDArray& values) {
    NDArray x = values.contiguous();
    const auto finite = [](float value) { return std::isfinite(value); };
    if (!std::all_of(x.data<float>(), x.data<float>() + x.numel(), finite)) x = finite_part(x);
    if (x.numel() == 0) return;
    const auto [min, max] = std::minmax_element(x.data<float>(), x.data<float>() + x.numel());
    histogram_.add(x, *min, *max);
  }

  bool empty() const { return histogram_.empty(); }

  // {low, width, counts, min, max}
  nlohmann::json json() const {
    const quant::BinGrid& grid = histogram_.grid();
    std::vector<int64_t> counts;
    for (int64_t i = 0; i < grid.bins; ++i) counts.push_back(histogram_.count(i));
    nlohmann::json row = merged(counts, grid.first, grid.width());
    row["min"] = histogram_.min();
    row["max"] = histogram_.max();
    return row;
  }

 private:
  quant::Histogram histogram_;
};

double part_of(int64_t count, int64_t all) {
  return all > 0 ? static_cast<double>(count) / static_cast<double>(all) : 0;
}

// Of integers of known parameters: a bin for each, which are then merged.
class IntegerCounts {
 public:
  explicit IntegerCounts(const TensorQParams& parameters)
      : parameters_(parameters), counts_(static_cast<size_t>(parameters.qmax()) + 1) {}

  void add(const NDArray& values) {
    const NDArray q = values.contiguous();
    for (const uint8_t* p = q.data<uint8_t>(); p != q.data<uint8_t>() + q.numel(); ++p)
      ++counts_[std::min<size_t>(*p, counts_.size() - 1)];
    total_ += q.numel();
  }

  bool empty() const { return total_ == 0; }
  double low() const { return value_of(0); }
  double high() const { return value_of(parameters_.qmax()); }

  // As FloatCounts::json(), with range, at_low, at_high.
  nlohmann::json json() const {
    nlohmann::json row = merged(counts_, -parameters_.zero_point, double{parameters_.scale});
    const auto [begin, end] = used_part(counts_);
    row["min"] = value_of(begin);
    row["max"] = value_of(end - 1);
    row["range"] = {low(), high()};
    row["at_low"] = parameters_.zero_point > 0 ? nlohmann::json(part_of(counts_.front(), total_)) : nlohmann::json();
    row["at_high"] = part_of(counts_.back(), total_);
    return row;
  }

 private:
  double value_of(int64_t q) const {
    return double{parameters_.scale} * static_cast<double>(q - parameters_.zero_point);
  }

  TensorQParams parameters_;
  std::vector<int64_t> counts_;
  int64_t total_ = 0;
};

bool computes_values(const Node* node) { return node->kind == Node::Kind::layer || node->kind == Node::Kind::op; }

// What a float graph's node has where the quantized one has integers.
struct Twin {
  FloatCounts counts;
  int64_t below = 0, above = 0, total = 0;

  void add(const NDArray& values, const TensorQParams& p) {
    const NDArray x = values.contiguous();
    // What rounds to an integer of the range is not cut off.
    const double low = p.scale * (-p.zero_point - 0.5), high = p.scale * (p.qmax() - p.zero_point + 0.5);
    for (const float* v = x.data<float>(); v != x.data<float>() + x.numel(); ++v) {
      below += *v < low;
      above += *v > high;
    }
    total += x.numel();
    counts.add(x);
  }
};

struct Watched {
  const Node* node;
  std::optional<TensorQParams> parameters;
  FloatCounts floats = {};
  std::optional<IntegerCounts> integers = {};
  Twin twin = {};

  Watched(const nn::Graph& graph, const Node* watched) : node(watched), parameters(quant::qparams_of(graph, watched)) {
    if (parameters) integers.emplace(*parameters);
  }

  void add(const NDArray& value) {
    if (value.dtype() == DType::float32)
      floats.add(value);
    else if (value.dtype() == DType::uint8 && integers)
      integers->add(value);
  }

  bool has_integers() const { return integers && !integers->empty(); }
  bool empty() const { return floats.empty() && !has_integers(); }

  nlohmann::json json(const std::string& type) const {
    nlohmann::json row = has_integers() ? integers->json() : floats.json();
    row["name"] = node->name;
    row["type"] = type;
    row["bits"] = has_integers() ? nlohmann::json(parameters->bits) : nlohmann::json();
    for (const char* key : {"range", "at_low", "at_high"})
      if (!row.contains(key)) row[key] = nullptr;
    const bool compared = has_integers() && !twin.counts.empty();
    row["reference"] = compared ? twin.counts.json() : nlohmann::json();
    row["below"] = compared ? nlohmann::json(part_of(twin.below, twin.total)) : nlohmann::json();
    row["above"] = compared ? nlohmann::json(part_of(twin.above, twin.total)) : nlohmann::json();
    return row;
  }
};

void add_reference(std::vector<Watched>& watched, nn::Graph& reference, const Tensor& batch) {
  const std::vector<Node*> nodes = reference.nodes();
  const std::vector<Tensor> values = reference.run_all(std::span(&batch, 1));
  std::map<std::string, size_t> numbers;
  for (size_t i = 0; i < nodes.size(); ++i)
    if (computes_values(nodes[i])) numbers.emplace(nodes[i]->name, i);
  for (Watched& w : watched) {
    const auto number = numbers.find(w.node->name);
    if (!w.has_integers() || number == numbers.end()) continue;
    if (const NDArray value = values[number->second].data(); value.dtype() == DType::float32)
      w.twin.add(value, *w.parameters);
  }
}

NDArray float_weight_of(const nn::Module& layer) {
  for (const auto& [name, tensor] : layer.state())
    if (name == "weight" && tensor.dtype() == DType::float32 && tensor.ndim() >= 2) return tensor.data();
  return {};
}

}  // namespace

nlohmann::json weight_histograms(const nn::Graph& graph) {
  nlohmann::json rows = nlohmann::json::array();
  std::set<std::string> seen;
  for (const Node* node : graph.nodes()) {
    if (node->kind != Node::Kind::layer || !seen.insert(node->target).second) continue;
    const NDArray integers = quant::dequantized_weight_of(graph, node);
    const NDArray weight = integers.defined() ? integers : float_weight_of(graph.layer(node));
    FloatCounts counts;
    if (weight.defined()) counts.add(weight);
    if (counts.empty()) continue;
    nlohmann::json& row = rows.emplace_back(counts.json());
    row["name"] = node->name;
    row["type"] = type_of(graph, node);
    row["bits"] = integers.defined() ? weight_bits_of(graph, node) : nlohmann::json();
  }
  return rows;
}

nlohmann::json activation_histograms(const nn::Graph& graph, std::span<const Tensor> batches,
                                     const nn::Graph* reference) {
  const NoGrad guard;
  nn::Graph running = graph.clone();
  running.eval();
  std::optional<nn::Graph> twin;
  if (reference) twin.emplace(reference->clone()).eval();
  const std::vector<Node*> nodes = running.nodes();
  std::vector<Watched> watched;
  for (const Node* node : nodes) watched.emplace_back(running, node);
  for (const Tensor& batch : batches) {
    const std::vector<Tensor> values = running.run_all(std::span(&batch, 1));
    for (size_t i = 0; i < nodes.size(); ++i)
      if (computes_values(nodes[i])) watched[i].add(values[i].data());
    if (twin) add_reference(watched, *twin, batch);
  }
  nlohmann::json rows = nlohmann::json::array();
  for (const Watched& w : watched)
    if (!w.empty()) rows.push_back(w.json(type_of(running, w.node)));
  return rows;
}

}  // namespace thimble::apps
