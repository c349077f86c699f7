// What the ops of exported models compute, in double, where integers of 32 bits are exact: plain enough to be believed,
// and no part of the importer.
#pragma once

#include <cmath>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <onnx/onnx_pb.h>

#include <thimble/core/ops.h>

namespace thimble::onnx {

class Evaluator {
 public:
  using Values = std::map<std::string, Tensor>;

  explicit Evaluator(const ::onnx::ModelProto& model) : graph_(model.graph()) {
    for (const auto& tensor : graph_.initializer()) {
      types_[tensor.name()] = tensor.data_type();
      values_[tensor.name()] = array_of(tensor);
    }
  }

  /// What the nodes give, by name, as float64. Values that are `known` otherwise are what those that read them get, so
  /// that a difference does not spread.
  Values run(const Values& known) {
    const NoGrad guard;
    Values found;
    for (const auto& [name, value] : known) values_[name] = value.data().to(DType::float64);
    for (const auto& node : graph_.node()) {
      node_ = &node;
      const std::vector<Tensor> results = results_of(node.op_type());
      for (size_t i = 0; i < results.size(); ++i) {
        const std::string& name = node.output(static_cast<int>(i));
        found[name] = results[i];
        if (!known.contains(name)) values_[name] = results[i];
      }
    }
    return found;
  }

 private:
  using Numbers = std::vector<double>;

  static Tensor array_of(const ::onnx::TensorProto& t) {
    const Shape shape(std::vector<int64_t>(t.dims().begin(), t.dims().end()));
    Numbers numbers;
    const std::string& raw = t.raw_data();
    const auto read = [&]<typename T>(T) {
      for (size_t i = 0; i < raw.size() / sizeof(T); ++i)
        numbers.push_back(static_cast<double>(reinterpret_cast<const T*>(raw.data())[i]));
    };
    const auto unpack = [&](int bits, bool is_signed) {
      for (int64_t i = 0; i < shape.numel(); ++i) {
        const auto at = static_cast<size_t>(i * bits);
        const int u = static_cast<uint8_t>(raw.at(at / 8)) >> (at % 8) & ((1 << bits) - 1);
        numbers.push_back(is_signed && u >= 1 << (bits - 1) ? u - (1 << bits) : u);
      }
    };
    switch (t.data_type()) {
      case ::onnx::TensorProto::FLOAT:
        read(float{});
        break;
      case ::onnx::TensorProto::UINT8:
        read(uint8_t{});
        break;
      case ::onnx::TensorProto::INT8:
        read(int8_t{});
        break;
      case ::onnx::TensorProto::INT32:
        read(int32_t{});
        break;
      case ::onnx::TensorProto::INT64:
        read(int64_t{});
        break;
      case 21:
        unpack(4, false);
        break;
      case 22:
        unpack(4, true);
        break;
      case 25:
        unpack(2, false);
        break;
      case 26:
        unpack(2, true);
        break;
      default:
        throw std::runtime_error(str("evaluator: elements of type ", t.data_type()));
    }
    return NDArray::from_vector(numbers, shape);
  }

  const ::onnx::AttributeProto* attribute(const std::string& name) const {
    for (const auto& a : node_->attribute())
      if (a.name() == name) return &a;
    return nullptr;
  }
  int64_t integer(const std::string& name, int64_t fallback) const {
    return attribute(name) ? attribute(name)->i() : fallback;
  }
  std::vector<int64_t> list(const std::string& name) const {
    const auto& values = attribute(name)->ints();
    return {values.begin(), values.end()};
  }
  bool has(int i) const { return i < node_->input_size() && !node_->input(i).empty(); }
  const Tensor& in(int i) const { return values_.at(node_->input(i)); }
  std::vector<int64_t> in_list(int i) const { return in(i).data().to_vector<int64_t>(); }
  double number(int i) const { return in(i).item<double>(); }

  // Parameters along an axis, perhaps in blocks, spread over x's shape.
  Tensor spread(const Tensor& p, const Tensor& x) const {
    if (p.numel() == 1) return Tensor::scalar(p.item<double>(), DType::float64);
    const auto axis = static_cast<int>(integer("axis", 1));
    const int64_t block = integer("block_size", 0);
    const Numbers values = p.data().to_vector<double>();
    Numbers out;
    int64_t inner = 1;
    for (int d = axis + 1; d < x.ndim(); ++d) inner *= x.shape(d);
    for (int64_t i = 0; i < x.numel(); ++i) {
      const int64_t along = i / inner % x.shape(axis), outer = i / inner / x.shape(axis);
      const int64_t rows = block ? (x.shape(axis) + block - 1) / block : 0;
      out.push_back(values[static_cast<size_t>(block ? (outer * rows + along / block) * inner + i % inner : along)]);
    }
    return NDArray::from_vector(out, x.shape());
  }

  static Tensor rounded(const Tensor& x) {
    Numbers values = x.data().to_vector<double>();
    for (double& v : values) v = std::nearbyint(v);
    return NDArray::from_vector(values, x.shape());
  }

  // The integers of a type that QuantizeLinear makes, which its zero point's is.
  Tensor saturated(const Tensor& q, int zero_point) const {
    const bool is_signed = types_.at(node_->input(zero_point)) == ::onnx::TensorProto::INT8;
    return is_signed ? clamp(q, -128, 127) : clamp(q, 0, 255);
  }

  Conv2dOptions conv_options() const {
    const auto pads = list("pads"), strides = list("strides"), dilations = list("dilations");
    return {{strides[0], strides[1]},
            {pads[0], pads[1], pads[2], pads[3]},
            {dilations[0], dilations[1]},
            integer("group", 1)};
  }

  Tensor reduction() const {
    const auto axes = attribute("axes") ? list("axes") : has(1) ? in_list(1) : std::vector<int64_t>{};
    const bool keeps = integer("keepdims", 1) != 0;
    return node_->op_type() == "ReduceMin" ? min(in(0), Shape(axes), keeps) : max(in(0), Shape(axes), keeps);
  }

  std::vector<Tensor> dynamically_quantized() const {
    const double low = std::min(min(in(0)).item<double>(), 0.0), high = std::max(max(in(0)).item<double>(), 0.0);
    const Tensor scale = Tensor::scalar((high - low) / 255, DType::float64);
    const Tensor zero = Tensor::scalar(std::nearbyint(-low / scale.item<double>()), DType::float64);
    return {clamp(rounded(in(0) / scale) + zero, 0, 255), scale, zero};
  }

  std::vector<Tensor> results_of(const std::string& op) const {
    if (op == "QuantizeLinear") return {saturated(rounded(in(0) / spread(in(1), in(0))) + spread(in(2), in(0)), 2)};
    if (op == "DequantizeLinear") return {(in(0) - spread(in(2), in(0))) * spread(in(1), in(0))};
    if (op == "DynamicQuantizeLinear") return dynamically_quantized();
    if (op == "Clip") {
      const Tensor low = has(1) ? maximum(in(0), in(1)) : in(0);
      return {has(2) ? minimum(low, in(2)) : low};
    }
    if (op == "Gemm") return {linear(in(0), in(1), has(2) ? in(2) : Tensor())};  // all have transB
    if (op == "MatMul") return {matmul(in(0), in(1))};
    if (op == "MatMulInteger") return {matmul(in(0) - in(2), in(1) - in(3))};
    if (op == "Conv") return {conv2d(in(0), in(1), has(2) ? in(2) : Tensor(), conv_options())};
    if (op == "ConvInteger") return {conv2d(in(0) - in(2), in(1) - in(3), {}, conv_options())};
    if (op == "MaxPool") return {max_pool2d(in(0), Pair(list("kernel_shape")[0], list("kernel_shape")[1]))};
    if (op == "GlobalAveragePool") return {adaptive_avg_pool2d(in(0), 1)};
    if (op == "Add") return {in(0) + in(1)};
    if (op == "Sub") return {in(0) - in(1)};
    if (op == "Mul") return {in(0) * in(1)};
    if (op == "Div") return {in(0) / in(1)};
    if (op == "Max") return {maximum(in(0), in(1))};
    if (op == "Min") return {minimum(in(0), in(1))};
    if (op == "Neg") return {-in(0)};
    if (op == "Relu") return {relu(in(0))};
    if (op == "Round") return {rounded(in(0))};
    if (op == "Cast" || op == "Identity") return {in(0)};
    if (op == "Concat") {
      std::vector<Tensor> parts;
      for (int i = 0; i < node_->input_size(); ++i) parts.push_back(in(i));
      return {concat(parts, integer("axis", 0))};
    }
    if (op == "ReduceMin" || op == "ReduceMax") return {reduction()};
    if (op == "Slice") return {slice(in(0), in_list(3)[0], in_list(1)[0], in_list(2)[0])};
    if (op == "Flatten") return {flatten(in(0), 1)};
    if (op == "Transpose") return {permute(in(0), Shape(list("perm")))};
    if (op == "Pad") {
      const auto p = in_list(1);
      return {pad(in(0), {p[3], p[7], p[2], p[6]}, number(2))};
    }
    throw std::runtime_error("evaluator: " + op);
  }

  const ::onnx::GraphProto& graph_;
  const ::onnx::NodeProto* node_ = nullptr;
  std::map<std::string, int> types_;
  Values values_;
};

}  // namespace thimble::onnx
