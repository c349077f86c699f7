// Constants, and what is made of sizes and numbers alone.
#include <numbers>

#include <thimble/serialization/onnx/handlers.h>
#include <thimble/serialization/onnx/shape_values.h>
#include <thimble/serialization/onnx/tensor_array.h>

namespace thimble::onnx {

namespace {

void constant(Importer& importer, const OnnxNode& node) {
  if (node.has("value")) return importer.set(node, 0, Importer::known(importer.array_of(node.tensor("value"))));
  if (node.has("value_float")) return importer.set(node, 0, Importer::number(node.number("value_float", 0)));
  if (node.has("value_int")) return importer.set(node, 0, Importer::index(node.integer("value_int", 0)));
  if (node.has("value_ints")) return importer.set(node, 0, Importer::integers(node.integers("value_ints")));
  node.require(node.has("value_floats"), "it has none of the attributes that are covered");
  importer.set(node, 0, Importer::known(NDArray::from_vector(node.numbers("value_floats"))));
}

// A number without memory of its own for each element.
void constant_of_shape(Importer& importer, const OnnxNode& node) {
  const Value& sizes = importer.input(node, 0);
  const NDArray value = node.has("value") ? importer.array_of(node.tensor("value")) : NDArray::zeros({1});
  node.require(value.numel() == 1, "its value has ", value.numel(), " elements, expected one");
  const Value number = Importer::known(value.reshape({}));
  importer.set(node, 0,
               importer.apply_with(node, "broadcast_to", {}, {number}, {{"shape", sizes}}, length_of(node, sizes)));
}

void shape(Importer& importer, const OnnxNode& node) {
  const Value& x = importer.input(node, 0);
  const int64_t start = node.integer("start", 0), end = node.integer("end", kEnd);
  Value sizes = sizes_of(importer, node, x);
  if (start != 0 || end != kEnd) {
    sizes = slice_of(importer, node, sizes, 0, start, end);
    if (x.rank >= 0) sizes.length = NDArray::arange(x.rank).slice(0, start, end).numel();
  }
  importer.set(node, 0, sizes);
}

void size(Importer& importer, const OnnxNode& node) {
  const Value sizes = sizes_of(importer, node, importer.input(node, 0));
  importer.set(node, 0, importer.apply(node, "prod", {}, {sizes}, 0));
}

void range(Importer& importer, const OnnxNode& node) {
  std::vector<Value> numbers;
  for (size_t i = 0; i < 3; ++i) numbers.push_back(number_input(importer, node, i));
  importer.set(node, 0, importer.apply(node, "arange", {}, numbers, 1));
}

void eye_like(Importer& importer, const OnnxNode& node) {
  Attributes attributes{{"diagonal", node.integer("k", 0)}};
  if (node.has("dtype"))
    attributes.set("dtype", std::string(name(dtype_from_onnx(static_cast<int32_t>(node.integer("dtype", 0))))));
  importer.set(node, 0, importer.apply(node, "eye_like", attributes, {importer.input(node, 0)}, 2));
}

// What a window of cosines is: a sum of terms a_k cos(2 pi k i / n).
const std::map<std::string, std::vector<double>> kWindows = {
    {"BlackmanWindow", {0.42, -0.5, 0.08}},
    {"HammingWindow", {25.0 / 46, -21.0 / 46}},
    {"HannWindow", {0.5, -0.5}},
};

// A periodic one leaves out the last element, which is the first again. Computed in double.
void window(Importer& importer, const OnnxNode& node) {
  const auto as = [&](const Value& x, DType dtype) {
    return importer.apply(node, "cast", {{"dtype", std::string(name(dtype))}}, {x});
  };
  const auto number = [](double value) { return Importer::known(NDArray::full({}, value, DType::float64)); };
  const Value size = as(number_input(importer, node, 0), DType::float64);
  const bool is_periodic = node.integer("periodic", 1) != 0;
  const Value steps = is_periodic ? size : importer.apply(node, "sub", {}, {size, number(1)});
  const Value places = importer.apply(node, "arange", {}, {number(0), size, number(1)}, 1);
  const Value turn = importer.apply(node, "div", {}, {places, steps});
  Value sum;
  const std::vector<double>& terms = kWindows.at(node.op());
  for (size_t k = 0; k < terms.size(); ++k) {
    const Value angle = importer.apply(node, "mul", {}, {turn, number(2 * std::numbers::pi * static_cast<double>(k))});
    const Value wave = importer.apply(node, "cos", {}, {angle});
    const Value term = importer.apply(node, "mul", {}, {wave, number(terms[k])});
    sum = k == 0 ? term : importer.apply(node, "add", {}, {sum, term});
  }
  const int64_t type = node.integer("output_datatype", ::onnx::TensorProto::FLOAT);
  importer.set(node, 0, as(sum, dtype_from_onnx(static_cast<int32_t>(type))));
}

}  // namespace

void add_constants(Handlers& handlers) {
  const Handlers own{{"Constant", constant}, {"ConstantOfShape", constant_of_shape},
                     {"EyeLike", eye_like},  {"Range", range},
                     {"Shape", shape},       {"Size", size}};
  handlers.insert(own.begin(), own.end());
  for (const auto& [op, terms] : kWindows) handlers.emplace(op, window);
}

}  // namespace thimble::onnx
