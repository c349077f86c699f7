// What `thimble export` writes, and an integer program that runs it.
#include <cmath>
#include <map>
#include <random>

#include "tests/apps/program.h"
#include <thimble/quant/layers/dynamic_layers.h>
#include <thimble/quant/layers/quantized_conv.h>
#include <thimble/quant/layers/quantized_linear.h>
#include <thimble/quant/layers/quantized_ops.h>
#include <thimble/quant/layers/weight_only_linear.h>
#include <thimble/serialization/checkpoint.h>
#include <thimble/serialization/npy.h>
#include <thimble/serialization/npz.h>
#include <thimble/serialization/safetensors.h>

namespace thimble::apps {
namespace {

using nlohmann::json;
using testing::ElementsAre;

class ExportTest : public ProgramTest {
 protected:
  using Arrays = std::map<std::string, NDArray>;

  void train_model(const std::vector<std::string>& options) const {
    std::vector<std::string> arguments{"train", "--data",    "data", "--batch-size", "20",  "--lr",
                                       "0.01",  "--threads", "1",    "--out",        "m.st"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    const Result result = run(arguments);
    ASSERT_EQ(result.status, 0) << result.err;
  }

  /// The exported arrays, which the JSON must tell truly.
  Arrays exported(const std::string& model) {
    const json told = json_of({"export", model, "--format", "npz", "--out", "m.npz"});
    EXPECT_EQ(told["out"], "m.npz");
    const auto arrays = load_npz(folder / "m.npz");
    EXPECT_EQ(told["arrays"].size(), arrays.size());
    for (size_t i = 0; i < arrays.size(); ++i) {
      const auto& [name, array] = arrays[i];
      EXPECT_EQ(told["arrays"][i],
                (json{{"name", name}, {"dtype", thimble::name(array.dtype())}, {"shape", array.shape().to_vector()}}));
    }
    return {arrays.begin(), arrays.end()};
  }

  static void expect_equal(const NDArray& got, const NDArray& expected, const std::string& name) {
    EXPECT_EQ(got.dtype(), expected.dtype()) << name;
    EXPECT_EQ(got.shape(), expected.shape()) << name;
    EXPECT_EQ(got.to_vector<double>(), expected.to_vector<double>()) << name;
  }

  /// Every array that an integer product must have.
  static void expect_product(const Arrays& arrays, const std::string& prefix, const quant::IntegerProduct& product) {
    const auto& q = product.quantization();
    const auto number = [&](const std::string& name) {
      EXPECT_EQ(arrays.at(prefix + name).ndim(), 0);
      return arrays.at(prefix + name).item<double>();
    };
    expect_equal(arrays.at(prefix + "weight"), product.weights().unpacked(), prefix);
    EXPECT_EQ(arrays.at(prefix + "weight").dtype(), DType::int8);
    EXPECT_EQ(arrays.at(prefix + "bias").dtype(), DType::int32);
    EXPECT_EQ(number("input_scale"), q.input.scale);
    EXPECT_EQ(arrays.at(prefix + "input_scale").dtype(), DType::float32);
    EXPECT_EQ(number("input_zero_point"), q.input.zero_point);
    EXPECT_EQ(arrays.at(prefix + "input_zero_point").dtype(), DType::int32);
    EXPECT_EQ(number("input_bits"), q.input.bits);
    EXPECT_EQ(number("weight_bits"), q.weight_bits);
    EXPECT_EQ(number("relu"), q.relu);
    for (const char* name : {"output_scale", "output_zero_point", "output_bits", "output_min", "output_max"})
      EXPECT_EQ(arrays.contains(prefix + name), q.output.has_value()) << name;
    if (q.output) {
      EXPECT_EQ(number("output_scale"), q.output->scale);
      EXPECT_EQ(number("output_zero_point"), q.output->zero_point);
      EXPECT_EQ(number("output_min"), q.relu ? q.output->zero_point : 0);
      EXPECT_EQ(number("output_max"), q.output->qmax());
    }
    const auto multiplier = arrays.at(prefix + "multiplier").to_vector<float>();
    EXPECT_EQ(multiplier, product.multiplier());
    const auto mantissa = arrays.at(prefix + "multiplier_mantissa").to_vector<int32_t>(),
               shift = arrays.at(prefix + "multiplier_shift").to_vector<int32_t>();
    for (size_t c = 0; c < multiplier.size(); ++c) {
      EXPECT_EQ(std::ldexp(mantissa[c], -shift[c]), double{multiplier[c]});
      EXPECT_GE(mantissa[c], 1 << 23);
      EXPECT_LT(mantissa[c], 1 << 24);
    }
  }

  /// As `thimble eval` counts them.
  int64_t correct_by_eval(const std::string& model) {
    const json result = json_of({"eval", model, "--data", "data"});
    return std::llround(result["accuracy"].get<double>() * result["images"].get<double>());
  }
};

TEST_F(ExportTest, HoldsWhatIntegerLayersComputeWith) {
  train("m.st");
  quantize("m.st", "q.st", {"--weight-bits", "4", "--activation-bits", "6"});
  const Arrays arrays = exported("q.st");
  const nn::Graph graph = load_model(folder / "q.st");
  int products = 0;
  for (const nn::Node* node : graph.nodes())
    if (const auto* product = graph.layer_as<quant::IntegerProduct>(node)) {
      expect_product(arrays, node->target + '.', *product);
      ++products;
    }
  EXPECT_EQ(products, 2);
  for (const auto& [name, tensor] : graph.state()) EXPECT_TRUE(arrays.contains(name)) << name;
}

TEST_F(ExportTest, HoldsTheGraphAndTheOrderOfItsLayers) {
  train("m.st");
  quantize("m.st", "q.st");
  const Arrays arrays = exported("q.st");
  const auto text = arrays.at("graph.json").to_vector<uint8_t>();
  const TensorFile file = load_safetensors(folder / "q.st");
  EXPECT_EQ(std::string(text.begin(), text.end()), file.metadata.at("graph"));
  std::vector<std::string> order;
  for (const auto& [name, array] : load_npz(folder / "m.npz"))
    if (name.ends_with(".weight")) order.push_back(name);
  EXPECT_THAT(order, ElementsAre("0.weight", "2.weight"));
}

TEST_F(ExportTest, HoldsHowPixelsBecomeInputs) {
  train("m.st");
  quantize("m.st", "q.st");
  const Arrays floats = exported("m.st"), integers = exported("q.st");
  const nn::Graph graph = load_model(folder / "q.st");
  const nn::Node* first = graph.users(graph.inputs()[0]).at(0);
  ASSERT_TRUE(graph.is_layer(first, "Quantize"));
  NDArray values({256});
  for (int pixel = 0; pixel < 256; ++pixel) values.data<float>()[pixel] = static_cast<float>(pixel / 255.0);
  expect_equal(floats.at("input.table"), values, "float");
  expect_equal(integers.at("input.table"), graph.layer(first)(Tensor(values)).data(), "integer");
  EXPECT_EQ(integers.at("input.table").dtype(), DType::uint8);
  EXPECT_EQ(integers.at("input.crop").item<int>(), 0);
  EXPECT_THAT(integers.at("input.shape").to_vector<int>(), ElementsAre(144));
  ASSERT_EQ(run(training("c.st", {"--crop", "10"})).status, 0);
  EXPECT_EQ(exported("c.st").at("input.crop").item<int>(), 10);
}

TEST_F(ExportTest, ExportsModelsOfEveryKind) {
  for (const char* model : {"cnn", "resnet9"}) {
    train_model({"--model", model, "--epochs", "1"});
    quantize("m.st", "q.st");
    for (const char* file : {"m.st", "q.st"}) {
      const Arrays arrays = exported(file);
      const nn::Graph graph = load_model(folder / file);
      for (const auto& [name, tensor] : graph.state()) {
        ASSERT_TRUE(arrays.contains(name)) << name;
        expect_equal(arrays.at(name), tensor.data(), name);
      }
      for (const nn::Node* node : graph.nodes())
        if (const auto* product = graph.layer_as<quant::IntegerProduct>(node))
          expect_product(arrays, node->target + '.', *product);
    }
  }
  // The residual additions of resnet9.
  const Arrays arrays = exported("q.st");
  const auto has_addition = [](const auto& entry) { return entry.first.ends_with(".a_zero_point"); };
  EXPECT_EQ(std::ranges::count_if(arrays, has_addition), 2);
}

// What the documentation of exported_arrays() says that a linear layer computes, of one row of inputs.
std::vector<float> evaluate(const std::map<std::string, NDArray>& arrays, const std::string& prefix,
                            const std::vector<int32_t>& x) {
  const auto numbers = [&](const char* name) { return arrays.at(prefix + name).to_vector<int32_t>(); };
  const auto number = [&](const char* name) { return numbers(name).at(0); };
  const auto weight = numbers("weight"), bias = numbers("bias");
  const auto multiplier = arrays.at(prefix + "multiplier").to_vector<float>();
  const bool in_groups = arrays.contains(prefix + "weight_group_size");
  const size_t out = bias.size(), size = in_groups ? static_cast<size_t>(number("weight_group_size")) : x.size();
  const size_t groups = (x.size() + size - 1) / size;
  const auto count = static_cast<int64_t>(groups), channels = static_cast<int64_t>(out);
  EXPECT_EQ(arrays.at(prefix + "multiplier").shape(), (in_groups ? Shape{count, channels} : Shape{channels}));
  EXPECT_EQ(arrays.at(prefix + "weight_scale").shape(), (in_groups ? Shape{channels, count} : Shape{channels}));
  std::vector<float> y;
  for (size_t o = 0; o < out; ++o) {
    float value = 0;
    for (size_t g = 0; g < groups; ++g) {
      int32_t sum = 0;
      for (size_t i = g * size; i < std::min((g + 1) * size, x.size()); ++i)
        sum += (x[i] - number("input_zero_point")) * weight[o * x.size() + i];
      sum = (g == 0 ? bias[o] : 0) + sum * (1 << number("weight_shift"));
      const float product = static_cast<float>(sum) * multiplier[g * out + o];
      value = g == 0 ? product : value + product;
    }
    if (!arrays.contains(prefix + "output_scale"))
      y.push_back(number("relu") != 0 ? std::max(value, 0.0f) : value);
    else
      y.push_back(std::clamp(std::nearbyint(value) + static_cast<float>(number("output_zero_point")),
                             static_cast<float>(number("output_min")), static_cast<float>(number("output_max"))));
  }
  return y;
}

TEST_F(ExportTest, TheDocumentedFormulaGivesTheLayersBits) {
  train("m.st");
  std::mt19937 random(1);
  for (const std::vector<std::string>& granularity :
       {std::vector<std::string>{"channel"}, {"tensor"}, {"group", "--group-size", "10"}, {"group"}})
    for (int bits = 2; bits <= 8; ++bits) {
      std::vector<std::string> arguments{"quantize",
                                         "m.st",
                                         "--data",
                                         "data",
                                         "--out",
                                         "q.st",
                                         "--weight-bits",
                                         std::to_string(bits),
                                         "--activation-bits",
                                         std::to_string(10 - bits),
                                         "--granularity"};
      arguments.insert(arguments.end(), granularity.begin(), granularity.end());
      ASSERT_EQ(run(arguments).status, 0);
      const Arrays arrays = exported("q.st");
      nn::Graph graph = load_model(folder / "q.st");
      int layers = 0;
      for (const nn::Node* node : graph.nodes())
        if (graph.layer_as<quant::IntegerProduct>(node)) {
          const std::string prefix = node->target + '.';
          NDArray x({1, arrays.at(prefix + "weight").shape(1)}, DType::uint8);
          for (int64_t i = 0; i < x.numel(); ++i)
            x.data<uint8_t>()[i] = static_cast<uint8_t>(random() % (1u << (10 - bits)));
          EXPECT_EQ(evaluate(arrays, prefix, x.to_vector<int32_t>()),
                    graph.layer(node)(Tensor(x)).data().to_vector<float>())
              << prefix << ' ' << bits << ' ' << granularity[0];
          ++layers;
        }
      EXPECT_EQ(layers, 2);
    }
}

// Of layers of every kind, with groups and zero points or without.
TEST_F(ExportTest, WeightsAreIntegersThatStandForTheLayersWeights) {
  train("m.st");
  for (const char* bits : {"2", "3", "4", "7", "8"})
    for (const std::vector<std::string>& options : {std::vector<std::string>{"dynamic"},
                                                    {"dynamic", "--granularity", "group", "--group-size", "10"},
                                                    {"weight-only"},
                                                    {"weight-only", "--granularity", "group", "--group-size", "10"},
                                                    {"weight-only", "--weight-scheme", "affine"}}) {
      std::vector<std::string> arguments{"quantize", "m.st", "--out", "q.st", "--weight-bits", bits, "--method"};
      arguments.insert(arguments.end(), options.begin(), options.end());
      ASSERT_EQ(run(arguments).status, 0);
      const Arrays arrays = exported("q.st");
      const nn::Graph graph = load_model(folder / "q.st");
      for (const nn::Node* node : graph.nodes()) {
        if (node->kind != nn::Node::Kind::layer) continue;
        SCOPED_TRACE(testing::PrintToString(arguments) + node->target);
        const std::string prefix = node->target + '.';
        const auto* dynamic = graph.layer_as<quant::DynamicProduct>(node);
        const auto* weight_only = graph.layer_as<quant::WeightOnlyLinear>(node);
        ASSERT_TRUE(dynamic || weight_only);
        const NDArray expected = dynamic ? dynamic->weights().dequantized() : weight_only->dequantized_weight();
        const NDArray& weight = arrays.at(prefix + "weight");
        const bool affine = arrays.contains(prefix + "weight_zero_point");
        EXPECT_EQ(affine, options.back() == "affine");
        EXPECT_EQ(weight.dtype(), affine ? DType::uint8 : DType::int8);
        ASSERT_EQ(weight.shape(), expected.shape());
        const auto scale = arrays.at(prefix + "weight_scale").to_vector<float>();
        const auto zero =
            affine ? arrays.at(prefix + "weight_zero_point").to_vector<int32_t>() : std::vector<int32_t>(scale.size());
        const std::string size_name = prefix + (dynamic ? "weight_group_size" : "group_size");
        const int32_t group_size = arrays.contains(size_name) ? arrays.at(size_name).item<int32_t>() : 0;
        const auto in = static_cast<size_t>(weight.numel() / weight.shape(0)),
                   groups = scale.size() / static_cast<size_t>(weight.shape(0));
        std::vector<float> values;
        for (const int32_t q : weight.to_vector<int32_t>()) {
          const size_t i = values.size(), g = group_size == 0 ? 0 : i % in / static_cast<size_t>(group_size);
          const size_t s = i / in * groups + g;
          values.push_back(scale[s] * static_cast<float>(q - zero[s]));
        }
        EXPECT_EQ(values, expected.to_vector<float>());
        EXPECT_EQ(arrays.at(prefix + "relu").item<int>(), node->target == "0");
      }
    }
}

TEST_F(ExportTest, NoArrayIsLost) {
  train("m.st");
  const Attributes notes = load_checkpoint(folder / "m.st").notes;
  nn::Graph graph;
  nn::Node* input = graph.add_input("input");
  nn::Node* sum = graph.add_op("sum", "add", {}, {input, graph.add_tensor("input.shape", NDArray::ones({144}))});
  graph.set_output(sum);
  save_model(graph, folder / "bad.st", notes);
  expect_failure({"export", "bad.st", "--out", "m.npz"}, 1, "two arrays would be named 'input.shape'");
}

TEST_F(ExportTest, TheSameModelGivesTheSameBytes) {
  train("m.st");
  ASSERT_EQ(run({"export", "m.st", "--out", "a.npz"}).status, 0);
  ASSERT_EQ(run({"export", "m.st", "--out", "b.npz"}).status, 0);
  EXPECT_TRUE(bytes("a.npz") == bytes("b.npz"));
}

TEST_F(ExportTest, AnOnnxModelSaysTheSame) {
  train("m.st");
  const Result exported = run({"export", "m.st", "--format", "onnx", "--out", "m.onnx"});
  if (exported.err.find("built without ONNX") != std::string::npos) GTEST_SKIP() << exported.err;
  EXPECT_EQ(exported.out, "saved m.onnx: opset 17, 3 nodes\n") << exported.err;
  const json told = json_of({"export", "m.st", "--format", "onnx", "--out", "m.onnx", "--opset", "20"});
  EXPECT_EQ(told, (json{{"out", "m.onnx"}, {"opset", 20}, {"nodes", 3}, {"session_options", json::object()}}));
  save_npy(folder / "x.npy", NDArray::full({3, 144}, 0.25));
  const auto answers = [&](const std::string& model) {
    json_of({"run", model, "--input", "x.npy", "--output", model + ".out"});
    for (const auto& entry : std::filesystem::directory_iterator(folder / (model + ".out")))
      return load_npy(entry.path()).to_vector<float>();
    return std::vector<float>();
  };
  EXPECT_EQ(answers("m.onnx"), answers("m.st"));
}

TEST_F(ExportTest, AnOnnxModelSaysWhatItNeeds) {
  train("m.st");
  quantize("m.st", "w.st", {"--method", "weight-only", "--weight-bits", "4"});
  const Result exported = run({"export", "w.st", "--format", "onnx", "--out", "w.onnx"});
  if (exported.err.find("built without ONNX") != std::string::npos) GTEST_SKIP() << exported.err;
  EXPECT_THAT(exported.out, testing::HasSubstr("saved w.onnx: opset 21"));
  EXPECT_THAT(exported.out, testing::HasSubstr("session.qdq_matmulnbits_accuracy_level=1"));
  const auto refused = [&](const std::vector<std::string>& options, int status, const std::string& problem) {
    std::vector<std::string> arguments{"export", "w.st", "--out", "other"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    expect_failure(arguments, status, problem);
  };
  refused({"--format", "onnx", "--opset", "17"}, 1,
          "opset 17 has no form of '0', a WeightOnlyLinear; it takes opset 21");
  refused({"--format", "onnx", "--opset", "16"}, 1, "opset 16 is not one of 17 to 25");
  refused({"--opset", "17"}, 2, "--opset: is for --format onnx, not npz");
  refused({"--reduce-range"}, 2, "--reduce-range: is for --format onnx, not npz");
  EXPECT_FALSE(std::filesystem::exists(folder / "other"));
}

TEST_F(ExportTest, AnIntegerProgramIsAsRightAsTheLibrary) {
#ifdef THIMBLE_INTEGER_MLP
  for (const auto& options : std::vector<std::vector<std::string>>{
           {"--hidden", "16", "--layers", "1"}, {"--hidden", "20", "--layers", "3", "--crop", "9"}, {"--layers", "0"}})
    for (const char* bits : {"8", "3"}) {
      train_model(options);
      quantize("m.st", "q.st", {"--activation-bits", bits, "--weight-bits", bits});
      ASSERT_EQ(run({"export", "q.st", "--out", "m.npz"}).status, 0);
      const Result result = execute({THIMBLE_INTEGER_MLP, "m.npz", "data"});
      EXPECT_EQ(result.out, str("accuracy: ", correct_by_eval("q.st"), " of 50\n")) << result.err;
    }
#else
  GTEST_SKIP() << "the examples are not built";
#endif
}

TEST_F(ExportTest, AnIntegerProgramSaysWhatItCannotRun) {
#ifdef THIMBLE_INTEGER_MLP
  const auto expect_refused = [&](const std::string& data, const std::string& problem) {
    const Result result = execute({THIMBLE_INTEGER_MLP, "m.npz", data});
    EXPECT_EQ(result.status, 1);
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, testing::StartsWith("integer_mlp: "));
    EXPECT_THAT(result.err, testing::HasSubstr(problem));
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
  };
  const auto export_quantized = [&](const std::vector<std::string>& options) {
    std::vector<std::string> arguments{"quantize", "m.st", "--data", "data", "--out", "q.st"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    ASSERT_EQ(run(arguments).status, 0);
    ASSERT_EQ(run({"export", "q.st", "--out", "m.npz"}).status, 0);
  };
  expect_refused("data", "cannot read 'm.npz'");
  write_bytes(folder / "m.npz", "damaged");
  expect_refused("data", "'m.npz': it is not a zip archive");

  train("m.st");
  ASSERT_EQ(run({"export", "m.st", "--out", "m.npz"}).status, 0);
  expect_refused("data", "no 'input.table' as of a static model");
  for (const char* method : {"dynamic", "weight-only"}) {
    export_quantized({"--method", method});
    expect_refused("data", "no 'input.table' as of a static model");
  }
  export_quantized({"--granularity", "group", "--group-size", "16"});
  expect_refused("data", "no '0.multiplier_mantissa' as of a static model of linear layers with a scale for each");
  train_model({"--model", "cnn", "--epochs", "1"});
  export_quantized({});
  expect_refused("data", "no '0.conv.weight' as of a static model of linear layers");
  train_model({"--model", "resnet9", "--epochs", "1"});
  export_quantized({});
  expect_refused("data", "images are padded or of several channels");

  train("m.st");
  export_quantized({});
  expect_refused("nowhere", "nowhere/t10k-images-idx3-ubyte");
  std::filesystem::copy(folder / "data", folder / "few");
  write_bytes(folder / "few" / "t10k-labels-idx1-ubyte", data::idx_header(8, {7}) + std::string(7, '\0'));
  expect_refused("few", "not one label an image");
  write_dataset(folder / "large", 14);
  expect_refused("large", "no '0.weight' as of a static model of linear layers");
#else
  GTEST_SKIP() << "the examples are not built";
#endif
}

}  // namespace
}  // namespace thimble::apps
