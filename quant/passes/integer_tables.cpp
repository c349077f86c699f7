#include <map>
#include <optional>
#include <utility>

#include <thimble/quant/layers/dynamic_layers.h>
#include <thimble/quant/layers/quantized_layer.h>
#include <thimble/quant/layers/weight_only_linear.h>
#include <thimble/quant/passes/integer_tables.h>

namespace thimble::quant {

using nn::Graph;
using nn::Node;

namespace {

// Integers of a product as a table has them.
struct ProductIntegers {
  int bits = 8;
  QScheme scheme = QScheme::symmetric;
  int64_t group_size = 0;
};

std::optional<ProductIntegers> integers_of(const nn::Module& product) {
  if (const auto* weight_only = dynamic_cast<const WeightOnlyLinear*>(&product)) {
    const WeightOnlyLinear::Config& c = weight_only->config();
    return ProductIntegers{c.bits, c.scheme, c.group_size};
  }
  const auto* integer = dynamic_cast<const IntegerProduct*>(&product);
  const auto* dynamic = dynamic_cast<const DynamicProduct*>(&product);
  if (!integer && !dynamic) return std::nullopt;
  const IntegerWeights::Format& format = (integer ? integer->weights() : dynamic->weights()).format();
  return ProductIntegers{format.bits, QScheme::symmetric, format.group_size};
}

std::shared_ptr<IntegerTable> new_table(const nn::Module& layer, IntegerTable::Config config) {
  if (const auto* bag = dynamic_cast<const nn::EmbeddingBag*>(&layer)) {
    config.padding_idx = bag->padding_idx();
    return std::make_shared<QuantizedEmbeddingBag>(config, bag->mode());
  }
  config.padding_idx = dynamic_cast<const nn::Embedding&>(layer).padding_idx();
  return std::make_shared<QuantizedEmbedding>(config);
}

DType dtype_of_weight(const nn::Module& product) {
  for (const auto& [name, tensor] : product.state())
    if (name == "weight") return tensor.dtype();
  return DType::float32;
}

// The state of another layer, as far as this one has it, in the same memory.
void take_state(IntegerTable& layer, const nn::Module& other) {
  NamedArrays arrays;
  for (const auto& [own, unused] : layer.state())
    for (const auto& [name, tensor] : other.state())
      if (name == own) arrays.emplace_back(name, tensor.data().lazy_clone());
  layer.load_state(arrays);
}

}  // namespace

WeightQuantization table_quantization(const QConfig& config) {
  return {{.bits = config.weight.bits, .axis = 0}, config.weight_observer};
}

IntegerTables::IntegerTables(const Graph& graph) {
  std::multimap<const void*, const Node*> products;
  for (const Node* node : graph.nodes())
    if (is_product(graph, node)) products.emplace(weight_of(graph, node).data().address(), node);
  for (const Node* node : graph.nodes()) {
    if (!is_table(graph, node)) continue;
    const NDArray& table = table_of(graph, node).data();
    const auto [first, last] = products.equal_range(table.address());
    for (auto it = first; it != last; ++it)
      if (weight_of(graph, it->second).shape() == table.shape()) products_[node->name].push_back(it->second->name);
  }
}

std::string IntegerTables::obstacle_of(const Node* table,
                                       const std::function<bool(const std::string&)>& stays_float) const {
  const auto it = products_.find(table->name);
  if (it == products_.end()) return "";
  for (const std::string& product : it->second)
    if (stays_float(product)) return str("it shares its table with '", product, "', which stays float");
  return "";
}

std::string IntegerTables::replace(Node* node, Graph& graph, const WeightQuantization& quantization) {
  if (!is_table(graph, node)) return remarks_[node->target];
  std::string remark;
  const NDArray origin = table_of(graph, node).data();
  auto layer = nn::detail::named_in_errors(node->name, [&] { return made_for(node, graph, quantization, remark); });
  made_.push_back({origin, layer});
  graph.replace_layer(node, layer);
  return remarks_[node->target] = remark;
}

std::shared_ptr<IntegerTable> IntegerTables::made_for(const Node* node, const Graph& graph,
                                                      const WeightQuantization& quantization,
                                                      std::string& remark) const {
  const nn::Module& layer = graph.layer(node);
  const NDArray& table = table_of(graph, node).data();
  IntegerTable::Config config{
      .num_embeddings = table.shape(0), .embedding_dim = table.shape(1), .bits = quantization.spec.bits};
  const auto tied = products_.find(node->name);
  for (const std::string& name : tied == products_.end() ? std::vector<std::string>() : tied->second) {
    const nn::Module& product = graph.layer(graph.find(name));
    const auto integers = integers_of(product);
    if (integers && integers->bits == config.bits && integers->group_size == 0) {
      config.scheme = integers->scheme;
      config.is_signed = dtype_of_weight(product) == DType::int8;
      auto made = new_table(layer, config);
      take_state(*made, product);
      return made;
    }
    remark = str("its table is no longer that of '", name, "', whose weights ",
                 !integers                   ? str("stay float")
                 : integers->group_size != 0 ? str("are in groups")
                                             : str("have ", integers->bits, " bits"));
  }
  auto made = new_table(layer, config);
  for (const Made& other : made_)
    if (other.origin.address() == table.address() && other.origin.shape() == table.shape() &&
        other.layer->config().bits == config.bits && other.layer->config().scheme == config.scheme) {
      take_state(*made, *other.layer);
      return made;
    }
  made->load_float(table, quantization.observer);
  return made;
}

}  // namespace thimble::quant
