// Rows of tables, of floats and of integers, and bags of them.
#include <functional>
#include <limits>
#include <utility>

#include <thimble/core/ops/embedding.h>
#include <thimble/nn/layers/embedding.h>
#include <thimble/quant/layers/quantized_embedding.h>
#include <thimble/serialization/onnx/export_handlers.h>
#include <thimble/serialization/onnx/export_products.h>
#include <thimble/serialization/onnx/export_reductions.h>
#include <thimble/serialization/onnx/export_tensors.h>

namespace thimble::onnx {

namespace {

using nn::Node;
using quant::IntegerTable;

// Steps of one node.
class EmbeddingExport {
 public:
  EmbeddingExport(Exporter& e, const Node& node) : e_(e), node_(node) {}

  std::string step(const std::string& op, const std::vector<std::string>& inputs, const Attributes& a = {}) const {
    return e_.step(node_, op, inputs, a);
  }
  std::string cast(const std::string& x, DType dtype) const {
    return step("Cast", {x}, {{"to", int64_t{onnx_type(dtype)}}});
  }
  std::string unsqueezed(const std::string& x, int64_t axis) const {
    return step("Unsqueeze", {x, e_.integers({axis})});
  }
  std::string reduced(const std::string& op, const std::string& x, int64_t axis, bool keepdim = false) const {
    return ReductionCall(e_, op, x, {axis}, keepdim).step(e_, node_);
  }
  std::string gathered(const std::string& table, const std::string& index) const {
    return step("Gather", {table, index}, {{"axis", int64_t{0}}});
  }

 protected:
  Exporter& e_;
  const Node& node_;
};

// Rows of a table of integers: gathered as they are, so that the table stays what it is, and then made floats.
class TableExport : EmbeddingExport {
 public:
  TableExport(Exporter& e, const Node& node)
      : EmbeddingExport(e, node), layer_(*e.graph().layer_as<IntegerTable>(&node)) {}

  std::string rows(const std::string& index) const {
    std::string numbers = integers(index);
    const NDArray zero_point = state_array(layer_, "weight_zero_point");
    if (zero_point.defined())
      numbers = step("Sub", {numbers, cast(parameter("weight_zero_point", zero_point, index), DType::float32)});
    else if (!layer_.config().is_signed)
      numbers = step("Sub", {numbers, e_.number(1 << (layer_.config().bits - 1))});
    return step("Mul", {numbers, parameter("weight_scale", state_array(layer_, "weight_scale"), index)});
  }

 private:
  std::string parameter(const char* part, const NDArray& array, const std::string& index) const {
    return unsqueezed(gathered(e_.tensor(node_, part, array), index), -1);
  }

  // As float32.
  std::string integers(const std::string& index) const {
    const int bits = layer_.config().bits;
    if (bits == 4 || bits == 2)
      return unpacked(cast(gathered(e_.tensor(node_, "weight", state_array(layer_, "weight")), index), DType::float32));
    return cast(gathered(e_.tensor(node_, "weight", layer_.unpacked()), index), DType::float32);
  }

  // The lowest bits of each byte first. There are no shifts of bytes that every runtime has, but floats hold them.
  std::string unpacked(std::string bytes) const {
    const IntegerTable::Config& c = layer_.config();
    const int64_t in_byte = 8 / c.bits, most = 1 << c.bits, row_bytes = (c.embedding_dim + in_byte - 1) / in_byte;
    const std::string part = e_.number(1.0 / static_cast<double>(most)), whole = e_.number(static_cast<double>(most));
    std::vector<std::string> parts;
    for (int64_t i = 0; i + 1 < in_byte; ++i) {
      const std::string rest = step("Floor", {step("Mul", {bytes, part})});
      parts.push_back(unsqueezed(step("Sub", {bytes, step("Mul", {rest, whole})}), -1));
      bytes = rest;
    }
    parts.push_back(unsqueezed(bytes, -1));
    // 0: as it was.
    std::vector<int64_t> shape(static_cast<size_t>(e_.input_type(node_, 0).rank()), 0);
    shape.push_back(in_byte * row_bytes);
    const std::string row = step("Reshape", {step("Concat", parts, {{"axis", int64_t{-1}}}), e_.integers(shape)});
    if (in_byte * row_bytes == c.embedding_dim) return row;
    return step("Slice", {row, e_.integers({0}), e_.integers({c.embedding_dim}), e_.integers({-1})});
  }

  const IntegerTable& layer_;
};

using RowsOf = std::function<std::string(const std::string& index)>;

// What makes a bag of an index and, perhaps, offsets and factors.
struct BagCall {
  BagMode mode = BagMode::mean;
  std::optional<int64_t> padding_idx;
  bool has_offsets = false, has_scales = false;
  size_t first_extra = 1;  // of the node's inputs: what stands behind index and table
  RowsOf rows;
};

class BagExport : EmbeddingExport {
 public:
  BagExport(Exporter& e, const Node& node, BagCall call)
      : EmbeddingExport(e, node), call_(std::move(call)), index_(e.input(node, 0)) {}

  void write() {
    const DType type = e_.type_of(node_).dtype;
    e_.require(type == DType::float32, "it is exported with float32 alone, not ", type);
    e_.result_is(node_, call_.has_offsets ? of_offsets() : of_rows());
  }

 private:
  // Whether each entry counts; empty if all do.
  std::string counts() const {
    if (!call_.padding_idx) return "";
    const NDArray padding = NDArray::full({}, static_cast<double>(*call_.padding_idx), index_type());
    return step("Not", {step("Equal", {index_, e_.constant("padding_idx", padding)})});
  }
  std::string scales() const { return e_.input(node_, call_.first_extra + call_.has_offsets); }
  DType index_type() const { return e_.input_type(node_, 0).dtype; }
  std::string largest(const std::string& rows, const std::string& counted, int64_t axis) const {
    const std::string least = e_.number(-std::numeric_limits<double>::infinity());
    const std::string found =
        reduced("ReduceMax", counted.empty() ? rows : step("Where", {counted, rows, least}), axis);
    // A bag without entries gives 0.
    return counted.empty() ? found : step("Where", {step("Equal", {found, least}), e_.number(0), found});
  }
  std::string divided(const std::string& sum, const std::string& counted) const {
    return step("Div", {sum, step("Max", {reduced("ReduceSum", counted, 1, true), e_.number(1)})});
  }

  // Each row of an index [n, length] is a bag.
  std::string of_rows() const {
    const std::string rows = call_.rows(index_), counted = counts();
    if (call_.mode == BagMode::max) return largest(rows, counted.empty() ? "" : unsqueezed(counted, 2), 1);
    std::string factors = counted.empty() ? "" : cast(counted, DType::float32);
    if (call_.has_scales) factors = factors.empty() ? scales() : step("Mul", {factors, scales()});
    if (factors.empty()) return reduced(call_.mode == BagMode::mean ? "ReduceMean" : "ReduceSum", rows, 1);
    const std::string sum = reduced("ReduceSum", step("Mul", {rows, unsqueezed(factors, 2)}), 1);
    return call_.mode == BagMode::mean ? divided(sum, factors) : sum;
  }

  // Which entries are in which bag is a matrix [bags, entries].
  std::string of_offsets() const {
    const std::string rows = call_.rows(index_);
    std::string belongs = bags_of_entries();
    if (const std::string counted = counts(); !counted.empty())
      belongs = step("And", {belongs, unsqueezed(counted, 0)});
    if (call_.mode == BagMode::max) return largest(unsqueezed(rows, 0), unsqueezed(belongs, 2), 1);
    std::string factors = cast(belongs, DType::float32);
    if (call_.has_scales) factors = step("Mul", {factors, unsqueezed(scales(), 0)});
    const std::string sum = step("MatMul", {factors, rows});
    return call_.mode == BagMode::mean ? divided(sum, factors) : sum;
  }

  std::string bags_of_entries() const {
    const std::string starts = cast(e_.input(node_, call_.first_extra), DType::int64);
    const std::string entries = step("Shape", {index_});
    const std::string later =
        step("Slice", {starts, e_.integers({1}), e_.integers({std::numeric_limits<int64_t>::max()})});
    const std::string ends = step("Concat", {later, entries}, {{"axis", int64_t{0}}});
    const std::string count = step("Squeeze", {entries, e_.integers({0})});
    const std::string positions =
        unsqueezed(step("Range", {e_.number(0, DType::int64), count, e_.number(1, DType::int64)}), 0);
    return step("And", {step("GreaterOrEqual", {positions, unsqueezed(starts, 1)}),
                        step("Less", {positions, unsqueezed(ends, 1)})});
  }

  BagCall call_;
  std::string index_;
};

BagCall layer_call(Exporter& e, const Node& node, BagMode mode, std::optional<int64_t> padding_idx, RowsOf rows) {
  const size_t last = node.inputs.size() - 1;
  const bool has_scales = last > 0 && is_floating_point(e.input_type(node, last).dtype);
  return {mode, padding_idx, last > size_t{has_scales}, has_scales, 1, std::move(rows)};
}

void write_embedding_layer(Exporter& e, const Node& node) {
  const auto& embedding = *e.graph().layer_as<nn::Embedding>(&node);
  e.result(node, "Gather", {e.tensor(node, "weight", embedding.weight.data()), e.input(node, 0)},
           {{"axis", int64_t{0}}});
}

void write_embedding_bag_layer(Exporter& e, const Node& node) {
  const auto& bag = *e.graph().layer_as<nn::EmbeddingBag>(&node);
  const auto rows = [&](const std::string& index) {
    return EmbeddingExport(e, node).gathered(e.tensor(node, "weight", bag.weight.data()), index);
  };
  BagExport(e, node, layer_call(e, node, bag.mode(), bag.padding_idx(), rows)).write();
}

// Behind the index stands the table.
void write_embedding_bag_op(Exporter& e, const Node& node) {
  BagCall call;
  call.mode = bag_mode_from_name(node.attributes.get<std::string>("mode"));
  if (node.attributes.contains("padding_idx")) call.padding_idx = node.attributes.get<int64_t>("padding_idx");
  call.has_offsets = node.attributes.get("offsets", false);
  call.has_scales = e.num_operands(node) > 2 + size_t{call.has_offsets};
  call.first_extra = 2;
  call.rows = [&](const std::string& index) { return EmbeddingExport(e, node).gathered(e.input(node, 1), index); };
  BagExport(e, node, std::move(call)).write();
}

void write_quantized_embedding(Exporter& e, const Node& node) {
  e.result_is(node, TableExport(e, node).rows(e.input(node, 0)));
}

void write_quantized_embedding_bag(Exporter& e, const Node& node) {
  const auto& bag = *e.graph().layer_as<quant::QuantizedEmbeddingBag>(&node);
  const auto rows = [&](const std::string& index) { return TableExport(e, node).rows(index); };
  BagExport(e, node, layer_call(e, node, bag.mode(), bag.config().padding_idx, rows)).write();
}

}  // namespace

void add_embedding_exports(ExportHandlers& handlers) {
  const ExportHandlers own{{"Embedding", {write_embedding_layer}},
                           {"EmbeddingBag", {write_embedding_bag_layer}},
                           {"QuantizedEmbedding", {write_quantized_embedding}},
                           {"QuantizedEmbeddingBag", {write_quantized_embedding_bag}},
                           {"embedding_bag", {write_embedding_bag_op}}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
