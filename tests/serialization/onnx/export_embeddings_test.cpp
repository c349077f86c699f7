// Rows of tables and bags of them, exported and imported again.
#include <cmath>
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/core/ops.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/sample.h>
#include <thimble/nn/layers/embedding.h>
#include <thimble/quant/layers/quantized_embedding.h>
#include <thimble/serialization/onnx/exporter.h>
#include <thimble/serialization/onnx/importer.h>

namespace thimble::onnx {
namespace {

constexpr int64_t kRows = 11;

struct BagsCase {
  BagMode mode = BagMode::sum;
  bool padded = false, offsets = false, factors = false;
  DType index = DType::int64;
};

std::vector<BagsCase> bags_cases() {
  std::vector<BagsCase> cases;
  for (const BagMode mode : {BagMode::sum, BagMode::mean, BagMode::max})
    for (const bool padded : {false, true})
      for (const bool offsets : {false, true})
        for (const bool factors : {false, mode == BagMode::sum})
          cases.push_back({mode, padded, offsets, factors, offsets ? DType::int32 : DType::int64});
  return cases;
}

Tensor random_rows(const Shape& shape, DType dtype, uint64_t seed) {
  Generator generator(seed);
  std::vector<int64_t> values(static_cast<size_t>(shape.numel()));
  for (int64_t& v : values) v = static_cast<int64_t>(generator.below(kRows));
  return NDArray::from_vector(values, shape).to(dtype);
}

// An index whose second bag holds nothing but padding, and what else the case takes.
std::vector<Tensor> inputs_of(const BagsCase& c, int64_t bags, uint64_t seed) {
  Generator generator(seed);
  const Shape shape = c.offsets ? Shape{bags * 4} : Shape{bags, 4};
  NDArray index = random_rows(shape, c.index, seed).data();
  if (bags > 1 && c.offsets) index.slice(0, 4, 8).fill(2);
  if (bags > 1 && !c.offsets) index.slice(0, 1, 2).fill(2);
  std::vector<Tensor> inputs{index};
  if (c.offsets) {
    std::vector<int64_t> offsets(static_cast<size_t>(bags));
    for (size_t b = 1; b < offsets.size(); ++b) offsets[b] = static_cast<int64_t>(b) * 4;
    if (bags > 3) offsets[3] = offsets[2];  // nothing in it at all
    inputs.emplace_back(NDArray::from_vector(offsets).to(c.index));
  }
  if (c.factors) inputs.emplace_back(randn(shape, generator));
  return inputs;
}

std::vector<nn::Node*> add_inputs(nn::Graph& graph, const std::vector<Tensor>& examples) {
  std::vector<nn::Node*> nodes;
  for (const Tensor& example : examples) {
    nodes.push_back(graph.add_input(str("x", nodes.size())));
    nodes.back()->attributes = nn::sample_attributes(example);
  }
  return nodes;
}

nn::Graph graph_of(std::shared_ptr<nn::Module> layer, const std::vector<Tensor>& examples) {
  nn::Graph graph;
  graph.set_output(graph.add_layer("words", std::move(layer), add_inputs(graph, examples)));
  graph.eval();
  return graph;
}

void expect_the_same_again(nn::Graph& graph, const std::vector<Tensor>& inputs, const ::onnx::ModelProto& model) {
  const NoGrad guard;
  nn::Graph again = Importer(model, ".").run();
  const NDArray before = graph.forward_outputs(inputs)[0].data(), after = again.forward_outputs(inputs)[0].data();
  ASSERT_EQ(after.shape(), before.shape());
  const auto a = before.to_vector<float>(), b = after.to_vector<float>();
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-5) << i;
}

std::optional<int64_t> padding_of(const BagsCase& c) { return c.padded ? std::optional<int64_t>(2) : std::nullopt; }

TEST(OnnxExportEmbeddings, BagsAreTheSameAfterExportAndImport) {
  manual_seed(1);
  for (const BagsCase& c : bags_cases())
    for (const int64_t opset : {17, 18, 21}) {
      SCOPED_TRACE(str(name(c.mode), " padded ", c.padded, " offsets ", c.offsets, " factors ", c.factors));
      const auto bag = std::make_shared<nn::EmbeddingBag>(kRows, 6, nn::EmbeddingBag::Options{c.mode, padding_of(c)});
      nn::Graph graph = graph_of(bag, inputs_of(c, 1, 1));
      const ::onnx::ModelProto model = Exporter(graph, {.opset = opset}).run();
      for (const int64_t bags : {1, 5}) expect_the_same_again(graph, inputs_of(c, bags, 2), model);
    }
}

TEST(OnnxExportEmbeddings, TheOpIsTheLayer) {
  Generator generator(3);
  const Tensor table(randn({kRows, 6}, generator));
  for (const BagsCase& c : bags_cases()) {
    if (c.offsets) continue;
    Attributes attributes{{"mode", std::string(name(c.mode))}};
    if (c.padded) attributes.set("padding_idx", int64_t{2});
    nn::Graph graph;
    std::vector<nn::Node*> inputs = add_inputs(graph, inputs_of(c, 1, 1));
    inputs.insert(inputs.begin() + 1, graph.add_tensor("table", table));
    graph.set_output(graph.add_op("words", "embedding_bag", attributes, inputs));
    expect_the_same_again(graph, inputs_of(c, 4, 2), Exporter(graph, {}).run());
  }
}

TEST(OnnxExportEmbeddings, BagsOfFloat64AreRefused) {
  const Tensor table(NDArray::ones({kRows, 6}, DType::float64));
  nn::Graph graph;
  std::vector<nn::Node*> inputs = add_inputs(graph, inputs_of({}, 1, 1));
  inputs.push_back(graph.add_tensor("table", table));
  graph.set_output(graph.add_op("words", "embedding_bag", {{"mode", std::string("sum")}}, inputs));
  EXPECT_THAT([&] { Exporter(graph, {}).run(); },
              testing::ThrowsMessage<ValueError>(testing::HasSubstr("it is exported with float32 alone, not float64")));
}

const ::onnx::TensorProto& array_at(const ::onnx::ModelProto& model, const std::string& name) {
  for (const auto& tensor : model.graph().initializer())
    if (tensor.name() == name) return tensor;
  throw ValueError("no " + name);
}

TEST(OnnxExportEmbeddings, TablesOfIntegersStayThat) {
  manual_seed(4);
  for (const int bits : {2, 3, 4, 8})
    for (const int64_t columns : {6, 13}) {
      SCOPED_TRACE(str(bits, " bits, ", columns, " columns"));
      const nn::Embedding words(kRows, columns);
      for (const Shape& shape : {Shape{1}, Shape{1, 5}, Shape{1, 2, 3}}) {
        nn::Graph graph =
            graph_of(quant::QuantizedEmbedding::from_float(words, bits), {random_rows(shape, DType::int64, 1)});
        const ::onnx::ModelProto model = Exporter(graph, {}).run();
        Shape larger = shape;
        larger[0] = 3;
        expect_the_same_again(graph, {random_rows(larger, DType::int64, 2)}, model);
        const auto& table = array_at(model, "words.weight");
        EXPECT_EQ(table.data_type(), ::onnx::TensorProto::UINT8);
        EXPECT_EQ(table.dims(1), bits == 3 ? columns : (columns * bits + 7) / 8);
      }
      for (const BagsCase& c : bags_cases()) {
        const nn::EmbeddingBag bag(words.weight, {c.mode, padding_of(c)});
        nn::Graph graph = graph_of(quant::QuantizedEmbeddingBag::from_float(bag, bits), inputs_of(c, 1, 1));
        expect_the_same_again(graph, inputs_of(c, 4, 2), Exporter(graph, {}).run());
      }
    }
}

TEST(OnnxExportEmbeddings, SymmetricTablesHaveNoZeroPoints) {
  manual_seed(5);
  const nn::Embedding words(kRows, 6);
  for (const bool is_signed : {false, true}) {
    const auto layer = std::make_shared<quant::QuantizedEmbedding>(quant::IntegerTable::Config{
        .num_embeddings = kRows, .embedding_dim = 6, .scheme = quant::QScheme::symmetric, .is_signed = is_signed});
    layer->load_float(words.weight.data());
    nn::Graph graph = graph_of(layer, {random_rows({1, 5}, DType::int64, 1)});
    const ::onnx::ModelProto model = Exporter(graph, {}).run();
    EXPECT_EQ(array_at(model, "words.weight").data_type(),
              is_signed ? ::onnx::TensorProto::INT8 : ::onnx::TensorProto::UINT8);
    expect_the_same_again(graph, {random_rows({3, 5}, DType::int64, 2)}, model);
  }
}

}  // namespace
}  // namespace thimble::onnx
