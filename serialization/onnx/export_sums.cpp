#include <utility>

#include <thimble/serialization/onnx/export_products.h>
#include <thimble/serialization/onnx/export_sums.h>
#include <thimble/serialization/onnx/export_tensors.h>

namespace thimble::onnx {

IntegerSums::IntegerSums(Exporter& e, const nn::Node& node, const quant::IntegerWeights& weights,
                         const std::optional<Conv2dOptions>& conv)
    : e_(e), node_(node), layout_(weights), conv_(conv), weights_(weights, e.reduce_range()) {}

NDArray IntegerSums::group(int64_t g) const {
  if (groups() == 1) return weights_.values;
  const int64_t begin = g == 0 ? 0 : layout_.group_end(g - 1);
  return weights_.values.slice(1, begin, layout_.group_end(g));
}

std::string IntegerSums::of(const std::string& q, const std::string& zero_point, int64_t g) {
  const std::string zero = e_.number(0, DType::int8), part = groups() == 1 ? "weight" : str("weight.", g);
  if (conv_) {
    const Shape& shape = weights_.values.shape();
    return e_.step(node_, "ConvInteger", {q, e_.tensor(node_, part, group(g)), zero_point, zero},
                   conv_attributes_of(*conv_, {shape[2], shape[3]}));
  }
  std::string own = q;
  if (groups() > 1)
    own = e_.step(node_, "Slice",
                  {q, e_.integers({g == 0 ? 0 : layout_.group_end(g - 1)}), e_.integers({layout_.group_end(g)}),
                   e_.integers({e_.input_type(node_, 0).rank() - 1})});
  return e_.step(node_, "MatMulInteger", {own, e_.tensor(node_, part, group(g).transpose(0, 1)), zero_point, zero});
}

std::string IntegerSums::scaled(const std::string& sums, const std::string& factor) {
  const std::string floats = e_.step(node_, "Cast", {sums}, {{"to", int64_t{onnx_type(DType::float32)}}});
  return e_.step(node_, "Mul", {floats, factor});
}

std::string IntegerSums::per_channel(const std::string& part, const NDArray& values) {
  return e_.tensor(node_, part, conv_ ? values.reshape({values.numel(), 1, 1}) : values);
}

std::string IntegerSums::per_channel(const std::string& part, const std::vector<float>& values, int64_t g) {
  const auto first = values.begin() + g * weights_.out();
  return per_channel(groups() == 1 ? part : str(part, '.', g),
                     NDArray::from_vector(std::vector<float>(first, first + weights_.out())));
}

NDArray IntegerSums::sums_of_weights(int64_t g) const {
  const NDArray rows = group(g).contiguous().reshape({weights_.out(), -1});
  NDArray sums = NDArray::zeros({weights_.out()}, DType::int32);
  for (int64_t row = 0; row < rows.shape(0); ++row)
    for (int64_t i = 0; i < rows.shape(1); ++i)
      sums.data<int32_t>()[row] += std::as_const(rows).data<int8_t>()[row * rows.shape(1) + i];
  return sums;
}

void IntegerSums::write_float(const std::string& value, bool relu) {
  if (relu)
    e_.result(node_, "Relu", {value});
  else
    e_.result_is(node_, value);
}

}  // namespace thimble::onnx
