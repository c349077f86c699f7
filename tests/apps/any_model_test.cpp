// Models that other programs than this one have trained and saved: every subcommand takes what save_model() writes.
#include <map>

#include "tests/apps/program.h"
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/shape.h>
#include <thimble/core/random.h>
#include <thimble/nn/data/mnist.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/embedding.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/passes/fuse.h>
#include <thimble/quant/quantize.h>
#include <thimble/serialization/checkpoint.h>
#include <thimble/serialization/npy.h>
#include <thimble/serialization/npz.h>

namespace thimble::apps {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

class AnyModelTest : public ProgramTest {
 protected:
  static constexpr int64_t kIn = 6, kHidden = 5, kOut = 3;

  AnyModelTest() {
    manual_seed(3);
    nn::Sequential net(nn::Linear(kIn, kHidden), nn::ReLU(), nn::Linear(kHidden, kOut));
    graph = nn::trace(net.eval(), samples(2));
    save_model(graph, folder / "net.st");
    save_npy(folder / "x.npy", samples(100).data());
  }

  static Tensor samples(int64_t count) {
    Generator generator(7);
    return Tensor(randn({count, kIn}, generator));
  }

  // The only answer that the program has written for x.npy.
  NDArray answer(const std::string& model, const std::string& input = "x.npy") const {
    const json result = json_of({"run", model, "--input", input, "--output", "out"});
    EXPECT_EQ(result.at("outputs").size(), 1u);
    EXPECT_GT(result.at("median_us"), 0.0);
    const json& output = result["outputs"][0];
    NDArray array = load_npy(folder / output.at("file").get<std::string>());
    EXPECT_EQ(output.at("dtype"), name(array.dtype()));
    EXPECT_EQ(output.at("shape"), array.shape().to_vector());
    return array;
  }

  static void expect_equal(const NDArray& got, const Tensor& expected) {
    EXPECT_EQ(got.shape(), expected.shape());
    EXPECT_EQ(got.to_vector<double>(), expected.data().to_vector<double>());
  }

  nn::Graph graph;
};

TEST_F(AnyModelTest, TheFileSaysWhatItsInputsAreLike) {
  EXPECT_EQ(json_of({"bench", "net.st", "--runs", "1"}).at("results").size(), 2u);
  const json input = json_of({"inspect", "net.st"}).at("nodes")[0];
  EXPECT_EQ(input.at("attributes"), (json{{"dtype", "float32"}, {"sample_shape", {kIn}}}));
  EXPECT_EQ(json_of({"export", "net.st", "--out", "net.npz"}).at("out"), "net.npz");
  std::map<std::string, NDArray> arrays;
  for (const auto& [name, array] : load_npz(folder / "net.npz")) arrays.emplace(name, array);
  EXPECT_EQ(arrays.at("input.shape").to_vector<int64_t>(), std::vector<int64_t>{kIn});
  EXPECT_TRUE(arrays.contains("0.weight"));
  EXPECT_FALSE(arrays.contains("input.table")) << "nobody knows how its pixels are prepared";
}

TEST_F(AnyModelTest, RunGivesTheGraphsAnswers) {
  const NoGrad guard;
  const Tensor expected = graph(samples(100));
  expect_equal(answer("net.st"), expected);
  expect_equal(answer("net.st", "input=x.npy"), expected);
  // Numbers of another kind are converted, but not cut off.
  save_npy(folder / "x.npy", samples(100).data().to(DType::float64));
  expect_equal(answer("net.st"), expected);
  save_npy(folder / "ints.npy", NDArray::full({2, kIn}, 3, DType::int32));
  expect_equal(answer("net.st", "ints.npy"), graph(Tensor(NDArray::full({2, kIn}, 3))));
}

TEST_F(AnyModelTest, RunNamesFilesAfterOutputs) {
  graph.set_outputs({{"class scores/µ.v-1", graph.output()}});
  save_model(graph, folder / "net.st");
  const json output = json_of({"run", "net.st", "--input", "x.npy", "--output", "a/b", "--repeat", "3"})["outputs"][0];
  EXPECT_EQ(output.at("name"), "class scores/µ.v-1");
  EXPECT_EQ(output.at("file"), "a/b/class_scores___.v-1.npy");
  EXPECT_TRUE(std::filesystem::exists(folder / "a" / "b" / "class_scores___.v-1.npy"));
}

TEST_F(AnyModelTest, RunWritesEveryOutput) {
  const NoGrad guard;
  graph.set_outputs({{"classes", graph.output()}, {"features", graph.find("1")}});
  save_model(graph, folder / "net.st");
  const json outputs = json_of({"run", "net.st", "--input", "x.npy", "--output", "out"}).at("outputs");
  ASSERT_EQ(outputs.size(), 2u);
  EXPECT_EQ(outputs[1].at("name"), "features");
  const nn::NamedTensors expected = graph.run({{"input", samples(100)}});
  expect_equal(load_npy(folder / "out" / "classes.npy"), expected[0].second);
  expect_equal(load_npy(folder / "out" / "features.npy"), expected[1].second);
  graph.set_outputs({{"a/b", graph.output()}, {"a_b", graph.find("1")}});
  save_model(graph, folder / "net.st");
  expect_failure({"run", "net.st", "--input", "x.npy", "--output", "out"}, 1, "would both be written");
}

TEST_F(AnyModelTest, RunSaysWhatDoesNotFit) {
  const auto expect_refused = [&](const std::vector<std::string>& inputs, const std::string& fragment) {
    std::vector<std::string> arguments{"run", "net.st", "--output", "out"};
    for (const std::string& input : inputs) arguments.insert(arguments.end(), {"--input", input});
    expect_failure(arguments, 1, fragment);
  };
  save_npy(folder / "flat.npy", NDArray::ones({kIn}));
  save_npy(folder / "wide.npy", NDArray::ones({2, kIn + 1}));
  expect_refused({"flat.npy"}, "first dimension counts");
  expect_refused({"wide.npy"}, "linear");
  expect_refused({"none.npy"}, "none.npy");
  expect_refused({"net.st"}, "net.st");
  expect_refused({"x.npy", "x.npy"}, "has two files");
  expect_refused({"input="}, "''");
  expect_refused({"image=x.npy"}, "one of the inputs of 'net.st': 'input'");
  EXPECT_FALSE(std::filesystem::exists(folder / "out"));
  // An answer never takes an input's place.
  const std::string output = graph.output()->name + ".npy";
  std::filesystem::rename(folder / "x.npy", folder / output);
  expect_failure({"run", "net.st", "--input", output, "--output", "."}, 1, "would replace the input");
}

TEST_F(AnyModelTest, SeveralInputsGoByTheirNames) {
  struct Difference : nn::Module {
    nn::Submodule<nn::Linear> left{this, "left", 4, 2}, right{this, "right", 3, 2};
    Tensor forward_all(std::span<const Tensor> inputs) override { return left(inputs[0]) - right(inputs[1]); }
  } net;
  Generator generator(5);
  const Tensor a(randn({9, 4}, generator)), b(randn({9, 3}, generator));
  graph = nn::trace(net.eval(), {a, b});
  save_model(graph, folder / "two.st");
  save_npy(folder / "a.npy", a.data());
  save_npy(folder / "b.npy", b.data());
  EXPECT_EQ(json_of({"bench", "two.st", "--runs", "1"}).at("results").size(), 2u);
  const json result =
      json_of({"run", "two.st", "--input", "input1=b.npy", "--input", "input0=a.npy", "--output", "out"});
  const NoGrad guard;
  expect_equal(load_npy(folder / result["outputs"][0]["file"].get<std::string>()), graph(a, b));
  expect_failure({"run", "two.st", "--input", "a.npy", "--output", "out"}, 1, "'input0', 'input1'");
  expect_failure({"run", "two.st", "--input", "input0=a.npy", "--output", "out"}, 1,
                 "'input1' of 'two.st' has no file");
  expect_failure({"bench", "two.st", "--shape", "4"}, 1, "'input0', 'input1'");
}

TEST_F(AnyModelTest, IntegerInputsAreIndicesThatExist) {
  nn::Sequential net(nn::Embedding(7, 4), nn::Flatten(), nn::Linear(8, kOut));
  const NDArray indices = NDArray::from_vector<int64_t>({0, 6, 3, 2}, {2, 2});
  graph = nn::trace(net.eval(), Tensor(indices));
  save_model(graph, folder / "words.st");
  EXPECT_EQ(json_of({"bench", "words.st", "--runs", "1"}).at("results").size(), 2u);
  save_npy(folder / "words.npy", indices.to(DType::int32));
  const NoGrad guard;
  expect_equal(answer("words.st", "words.npy"), graph(Tensor(indices)));
  save_npy(folder / "halves.npy", NDArray::full({2, 2}, 0.5));
  expect_failure({"run", "words.st", "--input", "halves.npy", "--output", "out"}, 1, "takes int64");
}

TEST_F(AnyModelTest, AFileThatDoesNotSayItsShapeIsToldIt) {
  for (nn::Node* node : graph.inputs()) node->attributes = {};
  save_model(graph, folder / "old.st");
  for (const auto& arguments : std::vector<std::vector<std::string>>{{"bench", "old.st", "--runs", "1"},
                                                                     {"compare", "old.st", "--runs", "1"}}) {
    const auto with_shape = [&](const std::string& shape) {
      std::vector<std::string> all = arguments;
      all.insert(all.end(), {"--shape", shape});
      return all;
    };
    expect_failure(arguments, 1, "--shape 3,224,224");
    json_of(with_shape("6"));
    json_of(with_shape("input=6"));
    expect_failure(with_shape("7"), 1, "linear");
    expect_failure(with_shape("image=6"), 1, "'input'");
    for (const char* wrong : {"x", "6,", ",6", "6;2", "0", "-6", "1,1,1,1,1,1,1,6", "100000,100000", "input="})
      expect_failure(with_shape(wrong), 2, "--shape");
  }
  const NoGrad guard;
  expect_equal(answer("old.st"), graph(samples(100)));
}

TEST_F(AnyModelTest, WithoutADatasetCompareSaysWhyThereIsNoAccuracy) {
  const json row = json_of({"compare", "net.st", "--runs", "1"}).at("rows")[0];
  EXPECT_TRUE(row.at("accuracy").is_null());
  EXPECT_EQ(row.at("method"), "baseline");
  EXPECT_EQ(row.at("parameters"), kIn * kHidden + kHidden + kHidden * kOut + kOut);
  EXPECT_GT(row.at("latency_b64_us"), 0.0);
  const Result result = run({"compare", "net.st", "--runs", "1"});
  EXPECT_THAT(result.out, HasSubstr("no accuracy: 'net.st': its notes say neither"));
  expect_failure({"eval", "net.st"}, 1, "its notes say neither");
  expect_failure({"eval", "net.st", "--dataset", "mnist", "--data", "data"}, 1, "preprocessing.crop");
  expect_failure({"sensitivity", "net.st"}, 1, "its notes say neither");
}

TEST_F(AnyModelTest, QuantizesWithoutDataWhereTheMethodNeedsNone) {
  const NoGrad guard;
  const auto expected = graph(samples(100)).data().to_vector<double>();
  for (const char* method : {"dynamic", "weight-only"}) {
    json_of({"quantize", "net.st", "--method", method, "--out", "q.st"});
    const auto got = answer("q.st").to_vector<double>();
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 0.05) << method;
    const json row = json_of({"compare", "q.st", "--runs", "1"}).at("rows")[0];
    EXPECT_EQ(row.at("method"), method);
    EXPECT_EQ(row.at("dtype"), "int8");
    EXPECT_EQ(row.at("parameters"), kIn * kHidden + kHidden + kHidden * kOut + kOut);
    expect_failure({"quantize", "q.st", "--method", "dynamic", "--out", "q2.st"}, 1, "quantized already");
  }
  expect_failure({"quantize", "net.st", "--method", "qat", "--out", "no.st"}, 1, "its notes say neither");
  expect_failure({"quantize", "net.st", "--method", "static", "--out", "no.st"}, 1, "--calibration FILE.npy");
  EXPECT_FALSE(std::filesystem::exists(folder / "no.st"));
}

// The same bits as a program gets that calibrates on the same samples.
TEST_F(AnyModelTest, CalibratesOnTheUsersArrays) {
  const NoGrad guard;
  const auto library_answer = [&](int64_t count) {
    const Tensor all = samples(100);
    nn::Graph int8 =
        quant::quantize_model(graph, [&](nn::Graph& prepared) { prepared(Tensor(all.data().slice(0, 0, count))); });
    return int8(all);
  };
  const std::vector<std::string> quantize{"quantize", "net.st", "--out", "q.st", "--calibration"};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = quantize;
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  json_of(with({"x.npy"}));
  expect_equal(answer("q.st"), library_answer(100));
  json_of(with({"x.npy", "--calibration-images", "3"}));
  expect_equal(answer("q.st"), library_answer(3));
  EXPECT_NE(library_answer(3).data().to_vector<double>(), library_answer(100).data().to_vector<double>());
  save_npz(folder / "x.npz", {{"other", NDArray::ones({2})}, {"input", samples(100).data()}});
  json_of(with({"x.npz", "--bias-correction"}));

  save_npz(folder / "other.npz", {{"other", NDArray::ones({2})}});
  save_npy(folder / "empty.npy", NDArray(Shape{0, kIn}));
  expect_failure(with({"other.npz"}), 1, "no array named as the input, 'input', but 'other'");
  expect_failure(with({"empty.npy"}), 1, "no samples");
  expect_failure(with({"net.st"}), 1, "net.st");
  expect_failure(with({"x.npy", "--method", "qat"}), 2, "--calibration");
  expect_failure(with({"x.npy", "--budget", "5KB"}), 2, "--budget");
  expect_failure({"quantize", "net.st", "--calibration", "x.npy", "--out", "x.npy"}, 2, "would replace the input");
}

// Values in front of the depthwise layer are other ones in the integer model, which says what they were divided by.
TEST_F(AnyModelTest, ErrorsAreToldOnArraysWhereChannelsWereEqualized) {
  nn::Sequential net(nn::Conv2d(2, 4, 3), nn::ReLU(), nn::Conv2d(4, 4, 3, {.groups = 4}), nn::ReLU(), nn::Flatten(),
                     nn::Linear(4 * 16, kOut));
  auto& first = dynamic_cast<nn::Conv2d&>(*net.children().front().second);
  first.weight.mutable_data().slice(0, 0, 1).fill(20);
  Generator generator(2);
  const Tensor images(randn({12, 2, 8, 8}, generator));
  save_model(nn::trace(net.eval(), images), folder / "net.st");
  save_npy(folder / "images.npy", images.data());
  const json quantized = json_of({"quantize", "net.st", "--calibration", "images.npy", "--out", "q.st"});
  EXPECT_EQ(quantized.at("corrections").at("equalized_pairs"), 1);
  const json errors = json_of({"errors", "net.st", "q.st", "--calibration", "images.npy"});
  ASSERT_GE(errors.at("layers").size(), 3u);
  for (const char* part : {"layers", "weights"})
    for (const json& layer : errors.at(part)) EXPECT_GT(layer.at("sqnr_db"), 25.0) << layer;

  json_of({"quantize", "net.st", "--calibration", "images.npy", "--equalize", "--out", "e.st"});
  for (const json& layer : json_of({"errors", "net.st", "e.st", "--calibration", "images.npy"}).at("weights"))
    EXPECT_GT(layer.at("sqnr_db"), 25.0) << "weights were equalized, too: " << layer;

  const json plain = json_of(
      {"quantize", "net.st", "--calibration", "images.npy", "--no-equalize", "--no-bias-correction", "--out", "p.st"});
  EXPECT_EQ(plain.at("corrections"), json({{"equalized_pairs", 0}, {"biases_corrected", false}}));
  expect_failure({"errors", "net.st", "q.st"}, 1, "--calibration");
}

TEST_F(AnyModelTest, NotesOfOtherProgramsMayHoldAnythingAndStay) {
  const Attributes notes{{"author", std::string("me")}, {"method", int64_t{7}}, {"parameters", std::string("many")}};
  save_model(graph, folder / "net.st", notes);
  json_of({"bench", "net.st", "--runs", "1"});
  EXPECT_EQ(json_of({"compare", "net.st", "--runs", "1"}).at("rows")[0].at("method"), "baseline");
  json_of({"quantize", "net.st", "--method", "dynamic", "--out", "q.st"});
  const Attributes kept = load_checkpoint(folder / "q.st").notes;
  EXPECT_EQ(kept.get<std::string>("author"), "me");
  EXPECT_EQ(kept.get<std::string>("method"), "dynamic");
}

TEST_F(AnyModelTest, AGraphThatALibraryUserQuantizedIsSaidToBe) {
  const NoGrad guard;
  save_model(quant::quantize_model(graph, [&](nn::Graph& prepared) { prepared(samples(9)); }), folder / "int8.st");
  const json row = json_of({"compare", "int8.st", "--runs", "1"}).at("rows")[0];
  EXPECT_EQ(row.at("method"), "quantized");
  EXPECT_EQ(row.at("dtype"), "int8");
  EXPECT_EQ(row.at("parameters"), kIn * kHidden + kHidden + kHidden * kOut + kOut);
}

// Accuracy is that of images prepared as the notes say, all of which must be there.
class NotesTest : public ProgramTest {
 protected:
  NotesTest() { train("m.st"); }

  Attributes minimal() const {
    const Attributes all = load_checkpoint(folder / "m.st").notes;
    Attributes notes{{"dataset", std::string("mnist")}};
    notes.set_all("preprocessing.", all.part("preprocessing."));
    return notes;
  }
  void save_with(const Attributes& notes) const { save_model(load_model(folder / "m.st"), folder / "n.st", notes); }
};

TEST_F(NotesTest, DatasetAndPreprocessingSuffice) {
  save_with(minimal());
  EXPECT_EQ(json_of({"eval", "n.st", "--data", "data"}), json_of({"eval", "m.st", "--data", "data"}));
  EXPECT_EQ(json_of({"compare", "n.st", "--data", "data", "--runs", "1"}).at("rows")[0].at("accuracy"),
            json_of({"eval", "m.st", "--data", "data"}).at("accuracy"));
  json_of({"quantize", "n.st", "--data", "data", "--out", "q.st"});
}

TEST_F(NotesTest, IncompleteOnesAreRefusedWhereAccuracyIsAskedFor) {
  for (const auto& [missing, value] : minimal()) {
    if (missing == "dataset") continue;
    SCOPED_TRACE(missing);
    Attributes notes;
    for (const auto& [key, other] : minimal())
      if (key != missing) notes.set(key, other);
    save_with(notes);
    const std::string said = "'" + missing.substr(missing.find('.') + 1) + "' is missing";
    expect_failure({"eval", "n.st", "--data", "data"}, 1, said);
    expect_failure({"quantize", "n.st", "--data", "data", "--out", "q.st"}, 1, said);
    expect_failure({"sensitivity", "n.st", "--data", "data"}, 1, said);
    const Result compared = run({"compare", "n.st", "--data", "data", "--runs", "1"});
    EXPECT_EQ(compared.status, 0) << compared.err;
    EXPECT_THAT(compared.out, HasSubstr(said));
  }
  json_of({"bench", "n.st", "--runs", "1"});
}

TEST_F(NotesTest, FrozenParametersAloneLeaveNothingToTrain) {
  const Checkpoint trained = load_checkpoint(folder / "m.st");
  for (const Tensor& parameter : trained.graph.parameters()) parameter.set_requires_grad(false);
  save_model(trained.graph, folder / "n.st", trained.notes);
  const std::vector<std::string> qat{"quantize", "n.st", "--method", "qat", "--data", "data", "--out", "q.st"};
  expect_failure(qat, 1, "frozen parameters alone");
  json_of({"quantize", "n.st", "--data", "data", "--out", "q.st"});
}

TEST_F(NotesTest, ADatasetMayBeNamedWhereTheyNameNone) {
  Attributes notes;
  for (const auto& [key, value] : minimal())
    if (key != "dataset") notes.set(key, value);
  save_with(notes);
  expect_failure({"eval", "n.st", "--data", "data"}, 1, "--dataset");
  const Result result = run({"eval", "n.st", "--dataset", "mnist", "--data", "data"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.err, "");
}

TEST_F(NotesTest, DataThatTheModelWasNotTrainedOnIsWarnedOf) {
  write_dataset(folder / "data" / "other", kSize);
  for (const char* part : {"train", "t10k"}) {
    const auto images = folder / "data" / "other" / (std::string(part) + "-images-idx3-ubyte");
    std::string changed = read_bytes(images);
    changed.back() ^= 1;
    write_bytes(images, changed);
  }
  const auto err_of = [&](std::vector<std::string> arguments, const std::vector<std::string>& data) {
    arguments.insert(arguments.end(), data.begin(), data.end());
    const Result result = run(arguments);
    EXPECT_EQ(result.status, 0) << result.err;
    return result.err;
  };
  for (const auto& arguments : std::vector<std::vector<std::string>>{{"eval", "m.st"},
                                                                     {"compare", "m.st", "--runs", "1"},
                                                                     {"sensitivity", "m.st", "--runs", "1"},
                                                                     {"quantize", "m.st", "--out", "q.st"}}) {
    SCOPED_TRACE(arguments[0]);
    EXPECT_EQ(err_of(arguments, {"--data", "data"}), "");
    const std::string other = err_of(arguments, {"--data", "data/other"});
    EXPECT_THAT(other, HasSubstr("'m.st' was trained with other data than this mnist"));
    EXPECT_EQ(std::ranges::count(other, '\n'), 1) << other;
    const std::string fashion = err_of(arguments, {"--dataset", "fashion-mnist", "--data", "data"});
    EXPECT_THAT(fashion, HasSubstr("'m.st' was trained on mnist, not on fashion-mnist"));
    EXPECT_EQ(std::ranges::count(fashion, '\n'), 1) << fashion;
  }
}

}  // namespace
}  // namespace thimble::apps
