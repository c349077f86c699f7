#include <algorithm>
#include <cmath>
#include <unordered_set>
#include <utility>

#include <thimble/quant/analysis/mixed_precision.h>

namespace thimble::quant {

namespace {

// Memory that several tensors share counts once, as it does in a file.
class Bytes {
 public:
  Bytes& add(const nn::Module& module) {
    for (const auto& [name, tensor] : module.state())
      if (counted_.insert(tensor.data().address()).second) total_ += tensor.data().nbytes();
    return *this;
  }
  Bytes& add(const nn::Graph& graph, const Product& product) {
    add(graph.layer(graph.find(product.name)));
    for (const std::string& call : product.other_calls) add(graph.layer(graph.find(call)));
    return *this;
  }
  int64_t total() const { return total_; }

 private:
  std::unordered_set<const void*> counted_;
  int64_t total_ = 0;
};

}  // namespace

MixedPrecision::MixedPrecision(CalibratedGraph& calibrated, Cost cost, MixedPrecisionOptions options)
    : calibrated_(calibrated), cost_(std::move(cost)), size_(std::move(options.size)) {
  check<ValueError>(!calibrated.products().empty(), "mixed precision: the graph has no layer to quantize");
  check<ValueError>(!options.weight_bits.empty(), "mixed precision: there are no bits to choose from");
  if (!size_) size_ = [](const nn::Graph& graph) { return Bytes().add(graph).total(); };
  if (options.weight_observers.empty()) options.weight_observers.emplace_back();
  std::ranges::sort(options.weight_bits, std::ranges::greater());
  for (const int bits : options.weight_bits) {
    check_bits(bits, "mixed precision: weights");
    for (const std::string& observer : options.weight_observers) candidates_.push_back({bits, observer});
  }
  measure_layers(options.on_progress);
  front_ = pareto_choices(table_);
}

// The first candidate has the most bits: all layers have it but the one that is measured.
void MixedPrecision::measure_layers(const std::function<void(int64_t, int64_t)>& on_progress) {
  const size_t products = calibrated_.products().size();
  nn::Graph best = calibrated_.quantized(described(Choice(products, 0)).mapping);
  base_cost_ = cost_of(best);
  overhead_ = size_(best) - products_bytes(best);
  table_.resize(products);
  const auto tell = [&](size_t done) {
    if (on_progress) on_progress(static_cast<int64_t>(done), static_cast<int64_t>(products * candidates_.size()));
  };
  for (size_t p = 0; p < products; ++p) {
    const Product& product = calibrated_.products()[p];
    table_[p].push_back({Bytes().add(best, product).total(), 0});
    tell(p * candidates_.size() + 1);
    for (size_t c = 1; c < candidates_.size(); ++c) {
      Choice choice(products, 0);
      choice[p] = c;
      nn::Graph graph = calibrated_.quantized(described(choice).mapping);
      table_[p].push_back({Bytes().add(graph, product).total(), cost_of(graph) - base_cost_});
      overhead_ = std::min(overhead_, size_(graph) - products_bytes(graph));
      tell(p * candidates_.size() + c + 1);
    }
  }
}

int64_t MixedPrecision::products_bytes(const nn::Graph& graph) const {
  Bytes bytes;
  for (const Product& product : calibrated_.products()) bytes.add(graph, product);
  return bytes.total();
}

double MixedPrecision::cost_of(nn::Graph& graph) const {
  const double cost = cost_(graph);
  check<ValueError>(std::isfinite(cost), "mixed precision: a quantized graph's cost is ", cost);
  return cost;
}

QConfig MixedPrecision::config_of(size_t product, size_t candidate) const {
  QConfig config = calibrated_.products()[product].config;
  config.weight.bits = candidates_[candidate].weight_bits;
  if (!candidates_[candidate].weight_observer.empty()) config.weight_observer = candidates_[candidate].weight_observer;
  return config;
}

PrecisionChoice MixedPrecision::described(const Choice& choice) const {
  PrecisionChoice result;
  result.mapping = calibrated_.mapping();
  for (size_t p = 0; p < choice.size(); ++p) {
    const Product& product = calibrated_.products()[p];
    const QConfig config = config_of(p, choice[p]);
    product.configure(result.mapping, config);
    result.layers.push_back({product.name, config.weight.bits, config.weight_observer});
  }
  return result;
}

const PrecisionChoice& MixedPrecision::measured(const Choice& choice) {
  if (const auto known = measured_.find(choice); known != measured_.end()) return known->second;
  PrecisionChoice result = described(choice);
  result.predicted_cost = base_cost_;
  for (size_t p = 0; p < choice.size(); ++p) result.predicted_cost += table_[p][choice[p]].cost;
  nn::Graph graph = calibrated_.quantized(result.mapping);
  result.size_bytes = size_(graph);
  result.cost = cost_of(graph);
  return measured_.emplace(choice, std::move(result)).first->second;
}

// The best few by addition that fit, and the uniform ones that do.
std::vector<const PrecisionChoice*> MixedPrecision::fitting(int64_t budget) {
  constexpr size_t kMost = 4;
  std::vector<const PrecisionChoice*> choices;
  const auto take_if_it_fits = [&](const Choice& choice) {
    if (const PrecisionChoice& result = measured(choice); result.size_bytes <= budget) choices.push_back(&result);
  };
  auto it = std::ranges::upper_bound(front_, budget - overhead_, {}, &KnapsackChoice::size);
  while (it != front_.begin() && choices.size() < kMost) take_if_it_fits((--it)->options);
  for (size_t c = 0; c < candidates_.size(); ++c) take_if_it_fits(Choice(table_.size(), c));
  return choices;
}

PrecisionChoice MixedPrecision::best_within(int64_t budget) {
  const auto choices = fitting(budget);
  check<ValueError>(!choices.empty(), "mixed precision: the budget of ", budget,
                    " bytes is too small, the smallest choice takes ", smallest_size());
  return **std::ranges::min_element(choices, {}, &PrecisionChoice::cost);
}

PrecisionChoice MixedPrecision::smallest_where(const Test& reaches) {
  const auto tried = [&](int64_t budget) {
    PrecisionChoice choice = best_within(budget);
    nn::Graph graph = calibrated_.quantized(choice.mapping);
    const bool enough = reaches(choice, graph);
    return std::pair(std::move(choice), enough);
  };
  auto [best, reached] = tried(largest_size());
  check<ValueError>(reached, "mixed precision: not even the largest choice, of ", best.size_bytes,
                    " bytes, is good enough");
  int64_t too_small = smallest_size();
  if (auto [smallest, enough] = tried(too_small); enough) return smallest;
  while (best.size_bytes - too_small > std::max<int64_t>(1, best.size_bytes / 100)) {
    const int64_t middle = too_small + (best.size_bytes - too_small) / 2;
    auto [choice, enough] = tried(middle);
    if (enough)
      best = std::move(choice);
    else
      too_small = middle;
  }
  return best;
}

}  // namespace thimble::quant
