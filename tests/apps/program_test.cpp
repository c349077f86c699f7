#include "tests/apps/program.h"

#include <limits>

#include <thimble/nn/graph/graph.h>
#include <thimble/serialization/checkpoint.h>
#include <thimble/serialization/safetensors.h>

namespace thimble::apps {
namespace {

using nlohmann::json;
using testing::HasSubstr;

void expect_all_keys(const json& object, const std::vector<std::string>& keys) {
  ASSERT_TRUE(object.is_object()) << object;
  for (const std::string& key : keys) EXPECT_TRUE(object.contains(key)) << key << " is missing in " << object;
}

TEST_F(ProgramTest, GoesTheWholeWay) {
  const json trained = json_of(training("m.st"));
  expect_all_keys(trained, {"model", "parameters", "epochs", "out"});
  EXPECT_EQ(trained["model"], "mlp");
  EXPECT_EQ(trained["parameters"], 144 * 16 + 16 + 16 * 10 + 10);
  EXPECT_EQ(trained["out"], "m.st");
  ASSERT_EQ(trained["epochs"].size(), 3u);
  for (const json& epoch : trained["epochs"])
    expect_all_keys(epoch, {"epoch", "train_loss", "test_accuracy", "images_per_second", "seconds"});
  EXPECT_EQ(trained["epochs"][2]["epoch"], 3);
  EXPECT_LT(trained["epochs"][2]["train_loss"], trained["epochs"][0]["train_loss"]);

  const json evaluated = json_of({"eval", "m.st", "--data", "data"});
  expect_all_keys(evaluated, {"accuracy", "loss", "images"});
  EXPECT_EQ(evaluated["images"], 50);
  EXPECT_EQ(evaluated["accuracy"], trained["epochs"][2]["test_accuracy"]);
  EXPECT_GT(evaluated["accuracy"], 0.9);

  const json quantized = json_of({"quantize", "m.st", "--method", "static", "--data", "data", "--out", "q.st"});
  expect_all_keys(quantized, {"method", "layers", "out", "size_bytes"});
  EXPECT_EQ(quantized["method"], "static");
  EXPECT_EQ(quantized["size_bytes"], std::filesystem::file_size(folder / "q.st"));
  ASSERT_EQ(quantized["layers"].size(), 2u);
  for (const json& layer : quantized["layers"]) {
    expect_all_keys(layer, {"name", "type", "weight_bits", "activation_bits", "kept_float", "reason"});
    EXPECT_EQ(layer["weight_bits"], 8);
    EXPECT_EQ(layer["kept_float"], false);
  }
  const json integer = json_of({"eval", "q.st", "--data", "data"});
  EXPECT_NEAR(integer["accuracy"].get<double>(), evaluated["accuracy"].get<double>(), 0.05);
  EXPECT_NEAR(integer["loss"].get<double>(), evaluated["loss"].get<double>(), 0.1);

  const json timed = json_of({"bench", "q.st", "--batch-size", "1,7", "--runs", "2"});
  expect_all_keys(timed, {"results", "first_answer_ms"});
  EXPECT_GT(timed["first_answer_ms"], 0.0);
  ASSERT_EQ(timed["results"].size(), 2u);
  EXPECT_EQ(timed["results"][1]["batch_size"], 7);
  for (const json& result : timed["results"]) {
    expect_all_keys(result, {"batch_size", "mean_us", "std_us", "median_us", "images_per_second"});
    EXPECT_GT(result["mean_us"], 0.0);
  }

  const json compared = json_of({"compare", "m.st", "q.st", "--data", "data", "--runs", "1"});
  ASSERT_EQ(compared.at("rows").size(), 2u);
  for (const json& row : compared["rows"])
    expect_all_keys(row, {"model", "dtype", "method", "size_bytes", "parameters", "accuracy", "latency_b1_us",
                          "latency_b1_std_us", "latency_b64_us", "latency_b64_std_us"});
  EXPECT_EQ(compared["rows"][0]["dtype"], "float32");
  EXPECT_EQ(compared["rows"][1]["dtype"], "int8");
  EXPECT_EQ(compared["rows"][1]["method"], "static");
  EXPECT_EQ(compared["rows"][0]["accuracy"], evaluated["accuracy"]);
  EXPECT_EQ(compared["rows"][1]["accuracy"], integer["accuracy"]);
  EXPECT_EQ(compared["rows"][0]["parameters"], trained["parameters"]);

  const json inspected = json_of({"inspect", "q.st"});
  expect_all_keys(inspected, {"nodes", "tensors", "metadata"});
  EXPECT_EQ(inspected["nodes"].size(), 4u);  // input, quantize, two layers
  EXPECT_EQ(inspected["nodes"][1]["type"], "Quantize");
  EXPECT_TRUE(inspected["nodes"][1]["attributes"].contains("scale"));
  EXPECT_EQ(inspected["nodes"][2]["type"], "QuantizedLinear");
  EXPECT_EQ(inspected["nodes"][2]["inputs"], json::array({inspected["nodes"][1]["name"]}));
  EXPECT_EQ(inspected["nodes"][2]["attributes"]["weight_bits"], 8);
  EXPECT_EQ(inspected["metadata"]["format"], "thimble");
  for (const json& tensor : inspected["tensors"]) expect_all_keys(tensor, {"name", "dtype", "shape", "bytes"});
  EXPECT_EQ(json_of({"inspect", "q.st", "--verify"}).at("verified"), true);
  expect_files({"m.st", "q.st"});
}

TEST_F(ProgramTest, SpeaksToPeopleOnStandardOutput) {
  train("m.st");
  for (const auto& arguments : std::vector<std::vector<std::string>>{
           training("m.st"),
           {"eval", "m.st", "--data", "data"},
           {"quantize", "m.st", "--data", "data", "--out", "q.st"},
           {"inspect", "m.st"},
       }) {
    const Result result = run(arguments);
    EXPECT_EQ(result.status, 0);
    EXPECT_NE(result.out, "") << arguments[0];
    EXPECT_EQ(result.err, "") << arguments[0];
  }
}

TEST_F(ProgramTest, WritesJsonToAFile) {
  train("m.st");
  const Result result = run({"eval", "m.st", "--data", "data", "--json", "r.json"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("accuracy"));
  expect_all_keys(json::parse(bytes("r.json")), {"accuracy", "loss", "images"});
  expect_failure({"eval", "m.st", "--data", "data", "--json", "no/r.json"}, 1, "no/r.json");
  expect_files({"m.st", "r.json"});
}

TEST_F(ProgramTest, TheSameSeedGivesTheSameBits) {
  for (const char* optimizer : {"adam", "adamw", "sgd"}) {
    ASSERT_EQ(run(training("a.st", {"--optimizer", optimizer, "--seed", "5"})).status, 0);
    ASSERT_EQ(run(training("b.st", {"--optimizer", optimizer, "--seed", "5"})).status, 0);
    ASSERT_EQ(run(training("c.st", {"--optimizer", optimizer, "--seed", "6"})).status, 0);
    EXPECT_TRUE(bytes("a.st") == bytes("b.st")) << optimizer;
    EXPECT_FALSE(bytes("a.st") == bytes("c.st")) << optimizer;
  }
  quantize("a.st", "qa.st");
  quantize("a.st", "qb.st");
  EXPECT_TRUE(bytes("qa.st") == bytes("qb.st"));
}

TEST_F(ProgramTest, CropsAndReadsCompressedFiles) {
  for (const auto& entry : std::filesystem::directory_iterator(folder / "data")) {
    write_bytes(entry.path().string() + ".gz", data::gzip(read_bytes(entry.path())));
    std::filesystem::remove(entry.path());
  }
  EXPECT_EQ(json_of(training("m.st", {"--crop", "10"}))["parameters"], 100 * 16 + 16 + 16 * 10 + 10);
  expect_all_keys(json_of({"eval", "m.st", "--data", "data"}), {"accuracy"});
}

TEST_F(ProgramTest, TellsItsVersion) {
  const Result result = run({"--version"});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.out, testing::MatchesRegex("thimble [0-9]+\\.[0-9]+\\.[0-9]+\nfloat32 products: .*\n"));
  EXPECT_EQ(result.err, "");
}

TEST_F(ProgramTest, HelpSucceeds) {
  EXPECT_THAT(run({"--help"}).out, HasSubstr("quantize"));
  for (const char* command :
       {"train", "eval", "quantize", "bench", "run", "compare", "inspect", "export", "sensitivity", "errors"}) {
    const Result result = run({command, "--help"});
    EXPECT_EQ(result.status, 0);
    EXPECT_THAT(result.out, HasSubstr("--threads"));
    EXPECT_THAT(result.out, HasSubstr("--json"));
    EXPECT_EQ(result.err, "");
  }
}

TEST_F(ProgramTest, WrongCommandLinesHaveStatus2) {
  expect_failure(std::vector<std::string>{}, 2, "subcommand");
  expect_failure({"conquer"}, 2, "'conquer'");
  expect_failure({"conquer", "--out", "m.st"}, 2, "'conquer'");
  expect_failure({"--out", "m.st"}, 2, "there is no option '--out'");
  expect_failure({"-x", "conquer"}, 2, "there is no option '-x'");
  expect_failure({""}, 2, "there is no subcommand ''");
  expect_failure({"train"}, 2, "--out");
  expect_failure({"quantize", "m.st"}, 2, "(see thimble quantize --help)");
  expect_failure({"export", "m.st"}, 2, "--out");
  expect_failure({"export", "m.st", "--out", "m.tflite", "--format", "tflite"}, 2, "{npz,onnx}");
  expect_failure({"eval"}, 2, "model");
  expect_failure({"compare"}, 2, "models");
  expect_failure({"eval", "m.st", "--no-such-option"}, 2, "--no-such-option");
  for (const char* threads : {"0", "-1", "many", "100000", ""})
    expect_failure({"eval", "m.st", "--threads", threads}, 2, "--threads");
  expect_failure({"train", "--out", "m.st", "--batch-size", "0"}, 2, "--batch-size");
  expect_failure({"train", "--out", "m.st", "--epochs", "-1"}, 2, "--epochs");
  expect_failure({"train", "--out", "m.st", "--lr", "-1"}, 2, "--lr");
  expect_failure({"train", "--out", "m.st", "--seed", "x"}, 2, "--seed");
  expect_failure({"bench", "m.st", "--runs", "0"}, 2, "--runs");
  expect_failure({"bench", "m.st", "--batch-size", "1,0"}, 2, "--batch-size");
  expect_failure({"quantize", "m.st", "--out", "q.st", "--calibration-images", "0"}, 2, "--calibration-images");
  expect_failure({"two\nlines\x1b[2J"}, 2, "two\\nlines\\x1b[2J");
  expect_files({});
}

// Neither model nor data exist: whatever is said of them would be said after looking for them.
TEST_F(ProgramTest, BadValuesAreUsageErrorsThatSayWhatIsAllowed) {
  auto expect_usage = [&](std::vector<std::string> arguments, const std::string& option, const std::string& value,
                          const std::string& allowed) {
    arguments.insert(arguments.end(), {option, value});
    const Result result = run(arguments);
    expect_failure(result, 2, option);
    EXPECT_THAT(result.err, HasSubstr(value));
    EXPECT_THAT(result.err, HasSubstr(allowed));
    EXPECT_EQ(result.out, "");
  };
  const std::vector<std::string> train{"train", "--data", "nowhere", "--out", "n.st"},
      quantize{"quantize", "none.st", "--data", "nowhere", "--out", "q.st"}, eval{"eval", "none.st"},
      bench{"bench", "none.st"};
  expect_usage(train, "--dataset", "emnist9", "{mnist,fashion-mnist,cifar10,sst2,idx,npz,folder}");
  expect_usage(train, "--model", "gpt", "{mlp,cnn,resnet9,bow,lstm,transformer}");
  expect_usage(train, "--optimizer", "guess", "{adam,adamw,sgd}");
  for (const char* value : {"nan", "inf", "-inf", "-0.1", "1e9", "fast", "0.1x", ""}) {
    expect_usage(train, "--lr", value, "0 to 1e+06");
    expect_usage(train, "--weight-decay", value, "0 to 1e+06");
    expect_usage(train, "--momentum", value, "0 to 1");
  }
  for (const char* value : {"-1", "1000001", "1.5", "99999999999999999999", "nan"}) {
    expect_usage(train, "--epochs", value, "0 to 1000000");
    expect_usage(train, "--batch-size", value, "1 to 1000000");
    expect_usage(eval, "--batch-size", value, "1 to 1000000");
    expect_usage(bench, "--batch-size", value, "1 to 1000000");
    expect_usage(bench, "--runs", value, "1 to 10000");
    expect_usage(train, "--hidden", value, "1 to 65536");
    expect_usage(train, "--layers", value, "0 to 1000");
    expect_usage(train, "--crop", value, "0 to 4096");
  }
  for (const char* value : {"-1", "18446744073709551616", "99999999999999999999", "1.5", "+1", "", "x"})
    expect_usage(train, "--seed", value, "0 to 18446744073709551615");
  expect_usage(train, "--hidden", "0", "1 to 65536");
  expect_usage(train, "--batch-size", "0", "1 to 1000000");
  expect_usage(eval, "--dataset", "emnist9", "{mnist,fashion-mnist,cifar10,sst2,idx,npz,folder}");
  expect_usage(quantize, "--method", "magic", "{dynamic,static,weight-only,qat}");
  expect_usage(quantize, "--observer", "crystal", "{minmax,");
  expect_usage(quantize, "--weight-observer", "percentile", "{minmax,mse}");
  for (const char* bits : {"-1", "0", "1", "9", "99"})
    for (const char* option : {"--weight-bits", "--activation-bits"}) expect_usage(quantize, option, bits, "2 to 8");
  expect_files({});
}

TEST_F(ProgramTest, PostTrainingImprovementsChangeTheModel) {
  train("m.st");
  const std::vector<std::string> plain{
      "quantize", "m.st", "--data", "data", "--weight-bits", "3", "--calibration-images", "100", "--threads", "1"};
  const auto quantized = [&](const std::string& out, const std::vector<std::string>& options) {
    std::vector<std::string> arguments = plain;
    arguments.insert(arguments.end(), options.begin(), options.end());
    arguments.insert(arguments.end(), {"--out", out});
    const Result result = run(arguments);
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return bytes(out);
  };
  const std::string nearest = quantized("q.st", {});
  EXPECT_FALSE(quantized("e.st", {"--equalize"}) == nearest);
  EXPECT_FALSE(quantized("m3.st", {"--weight-observer", "mse"}) == nearest);
  EXPECT_FALSE(quantized("b.st", {"--bias-correction"}) == nearest);
  const std::string rounded = quantized("a.st", {"--adaround", "--adaround-iterations", "50"});
  EXPECT_FALSE(rounded == nearest);
  EXPECT_TRUE(quantized("a2.st", {"--adaround", "--adaround-iterations", "50"}) == rounded);
  quantized("all.st", {"--equalize", "--adaround", "--adaround-iterations", "50", "--bias-correction"});
  EXPECT_GE(json_of({"eval", "all.st", "--data", "data"}).at("accuracy"), 0.9);
}

TEST_F(ProgramTest, PostTrainingImprovementsAreForStaticQuantization) {
  for (const char* option : {"--equalize", "--adaround", "--bias-correction"}) {
    expect_failure({"quantize", "none.st", "--method", "qat", option, "--data", "nowhere", "--out", "q.st"}, 2, option);
  }
  expect_failure({"quantize", "none.st", "--adaround-iterations", "5", "--data", "nowhere", "--out", "q.st"}, 2,
                 "--adaround");
  expect_files({});
}

TEST_F(ProgramTest, GranularitiesThatDoNotFitAreUsageErrors) {
  const auto expect_usage = [&](const std::vector<std::string>& options, const std::string& fragment) {
    std::vector<std::string> arguments{"quantize", "none.st", "--data", "nowhere", "--out", "q.st"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    expect_failure(arguments, 2, fragment);
  };
  expect_usage({"--method", "weight-only", "--granularity", "tensor"}, "--granularity: tensor not in {channel,group}");
  expect_usage({"--group-size", "16"}, "--group-size: is for --granularity group, not channel");
  expect_usage({"--group-size", "16", "--granularity", "tensor"}, "--group-size: is for --granularity group");
}

TEST_F(ProgramTest, GroupsNeedNotDivideTheInputs) {
  train("m.st");
  for (const char* method : {"dynamic", "static", "weight-only"})
    json_of({"quantize", "m.st", "--data", "data", "--out", "q.st", "--method", method, "--granularity", "group"});
}

TEST_F(ProgramTest, DynamicRangesAreOfRowsUnlessTheCallIsWanted) {
  expect_failure({"quantize", "none.st", "--data", "nowhere", "--out", "q.st", "--dynamic-range", "row"}, 2,
                 "--dynamic-range: is for --method dynamic, not static");
  train("m.st");
  const auto range_with = [&](const std::vector<std::string>& options) {
    std::vector<std::string> arguments{"quantize", "m.st", "--out", "q.st", "--method", "dynamic"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    EXPECT_EQ(run(arguments).status, 0);
    const nn::Graph graph = load_model(folder / "q.st");
    return graph.children().front().second->attributes().get<std::string>("dynamic_range");
  };
  EXPECT_EQ(range_with({}), "row");
  EXPECT_EQ(range_with({"--dynamic-range", "row"}), "row");
  EXPECT_EQ(range_with({"--dynamic-range", "call"}), "call");
}

// One command line may serve for all methods.
TEST_F(ProgramTest, OptionsOfOtherMethodsAreAccepted) {
  train("m.st");
  for (const char* method : {"dynamic", "static", "weight-only", "qat"})
    json_of({"quantize",
             "m.st",
             "--method",
             method,
             "--out",
             "q.st",
             "--data",
             "data",
             "--weight-bits",
             "6",
             "--activation-bits",
             "7",
             "--observer",
             "percentile",
             "--granularity",
             "group",
             "--group-size",
             "16",
             "--calibration-images",
             "50",
             "--epochs",
             "1",
             "--lr",
             "1e-3"});
}

TEST_F(ProgramTest, TrainsWithQuantizationForOneStepInAll) {
  train("m.st");
  for (const char* batch : {"200", "1000"}) {
    json_of({"quantize", "m.st", "--method", "qat", "--batch-size", batch, "--data", "data", "--out", "q.st"});
    EXPECT_GT(json_of({"eval", "q.st", "--data", "data"}).at("accuracy"), 0.8) << batch;
  }
}

TEST_F(ProgramTest, ACropBeyondThePictureIsSaid) {
  expect_failure(run(training("n.st", {"--crop", "99"})), 1, "99");
  expect_files({});
}

TEST_F(ProgramTest, BadDatasetsAreSaid) {
  train("m.st");
  expect_failure({"train", "--data", "nowhere", "--out", "n.st"}, 1, "nowhere");
  expect_failure({"eval", "m.st", "--data", "nowhere"}, 1, "fetch-mnist");
  const auto images = folder / "data" / "t10k-images-idx3-ubyte", labels = folder / "data" / "t10k-labels-idx1-ubyte";
  const std::string good_images = read_bytes(images), good_labels = read_bytes(labels);
  auto expect_bad = [&](const std::string& image_bytes, const std::string& label_bytes, const std::string& name) {
    write_bytes(images, image_bytes);
    write_bytes(labels, label_bytes);
    expect_failure({"eval", "m.st", "--data", "data"}, 1, name);
  };
  expect_bad("", good_labels, "t10k-images");
  expect_bad(std::string("\x01") + good_images.substr(1), good_labels, "t10k-images");
  expect_bad(good_images.substr(0, good_images.size() - 1), good_labels, "t10k-images");
  expect_bad(good_images + 'x', good_labels, "t10k-images");
  expect_bad(good_labels, good_labels, "t10k-images");
  expect_bad(good_images, good_images, "t10k-labels");
  expect_bad(good_images, good_labels.substr(0, 20), "t10k-labels");
  expect_bad(good_images, good_labels.substr(0, 10) + '\x0a' + good_labels.substr(11), "label 2 is 10");
  expect_bad(good_images, data::idx_header(8, {3}) + std::string(3, '\0'), "3 labels");
}

TEST_F(ProgramTest, DamagedModelsAreSaid) {
  train("m.st");
  const std::string good = bytes("m.st");
  auto expect_bad = [&](const std::string& name) {
    for (const auto& arguments :
         std::vector<std::vector<std::string>>{{"eval", name, "--data", "data"},
                                               {"quantize", name, "--data", "data", "--out", "q.st"},
                                               {"bench", name, "--runs", "1"},
                                               {"export", name, "--out", "q.npz"},
                                               {"compare", name, "--data", "data", "--runs", "1"}})
      expect_failure(arguments, 1, name);
  };
  expect_bad("missing.st");
  expect_bad("data");
  expect_bad("data/train-images-idx3-ubyte");
  for (const size_t length : {size_t{0}, size_t{7}, size_t{100}, good.size() - 1}) {
    write_bytes(folder / "cut.st", good.substr(0, length));
    expect_bad("cut.st");
    expect_failure({"inspect", "cut.st"}, 1, "cut.st");
  }
  std::string flipped = good;
  flipped[flipped.find("Linear")] = 'X';
  write_bytes(folder / "flipped.st", flipped);
  expect_bad("flipped.st");
  expect_failure({"inspect", "flipped.st"}, 1, "flipped.st");
  expect_failure({"inspect", "flipped.st", "--verify"}, 1, "flipped.st");
  // Only the checksums tell.
  flipped = good;
  flipped.back() ^= 1;
  write_bytes(folder / "flipped.st", flipped);
  EXPECT_FALSE(json_of({"inspect", "flipped.st"}).contains("verified"));
  expect_failure({"inspect", "flipped.st", "--verify"}, 1, "is damaged");
  write_bytes(folder / "foreign.st", std::string("\2\0\0\0\0\0\0\0{}", 10));
  EXPECT_EQ(json_of({"inspect", "foreign.st", "--verify"}).at("verified"), false);
  expect_files({"m.st", "cut.st", "flipped.st", "foreign.st"});
}

TEST_F(ProgramTest, InspectNamesDtypesAsTheFileOrThimbleDoes) {
  const std::string header = R"({"h":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},)"
                             R"("u":{"dtype":"U16","shape":[1],"data_offsets":[4,6]},)"
                             R"("c":{"dtype":"C64","shape":[1,2],"data_offsets":[6,22]}})";
  const uint64_t length = header.size();
  write_bytes(folder / "foreign.st",
              std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + std::string(22, '\1'));
  const json tensors = json_of({"inspect", "foreign.st"}).at("tensors");
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(tensors[0].at("dtype"), "float16");
  EXPECT_EQ(tensors[1].at("dtype"), "uint16");
  EXPECT_EQ(tensors[2], (json{{"name", "c"}, {"dtype", "C64"}, {"shape", {1, 2}}, {"bytes", 16}}));
}

TEST_F(ProgramTest, AModelForOtherPicturesIsSaid) {
  train("m.st");
  write_dataset(folder / "data" / "large", 14);
  expect_failure({"eval", "m.st", "--data", "data/large"}, 1, "196");
  expect_failure({"quantize", "m.st", "--data", "data/large", "--out", "q.st"}, 1, "196");
  quantize("m.st", "q.st");
  expect_failure({"eval", "q.st", "--data", "data/large"}, 1, "196");
  expect_failure({"quantize", "q.st", "--data", "data", "--out", "q2.st"}, 1, "quantized already");
  expect_files({"m.st", "q.st"});
}

TEST_F(ProgramTest, WhereItCannotWriteItSaysSo) {
  train("m.st");
  for (const char* target : {"no/m.st", "/proc/m.st", "/dev/full"}) {
    expect_failure(run(training(target)), 1, target);
    expect_failure({"quantize", "m.st", "--data", "data", "--out", target}, 1, target);
    expect_failure({"export", "m.st", "--out", target}, 1, target);
    expect_failure({"inspect", "m.st", "--json", target}, 1, target);
  }
  expect_failure(run(training("data")), 1, "data");
  for (const auto& arguments :
       std::vector<std::vector<std::string>>{{"eval", "m.st", "--data", "data"}, {"inspect", "m.st"}, {"--help"}})
    expect_failure(run(arguments, RLIM_INFINITY, "/dev/full"), 1, "standard output");
  // With --json -, what people read goes to standard error before.
  const Result result = run({"eval", "m.st", "--data", "data", "--json", "-"}, RLIM_INFINITY, "/dev/full");
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, HasSubstr("\nthimble: cannot write the JSON result to standard output\n"));
  expect_files({"m.st"});
}

// That a result cannot be written is known before the data is even looked for.
TEST_F(ProgramTest, WhereItCannotWriteItSaysSoBeforeTheWork) {
  train("m.st");
  std::filesystem::create_directory(folder / "sub");
  write_bytes(folder / "file", "");
  for (const char* target : {"no/out", "file/out", "sub", "sub/", "/proc/out", ""}) {
    SCOPED_TRACE(target);
    const std::string quoted = std::string("cannot write '") + target + "'";
    expect_failure({"train", "--data", "nowhere", "--out", target}, 1, quoted);
    expect_failure({"quantize", "m.st", "--data", "nowhere", "--out", target}, 1, quoted);
    if (*target) expect_failure({"eval", "m.st", "--data", "nowhere", "--json", target}, 1, quoted);
  }
  expect_files({"m.st", "sub", "file"});
}

// Neither the data nor, mostly, the model exist: nothing was read before.
TEST_F(ProgramTest, AnOutputThatWouldReplaceAnotherFileIsAUsageError) {
  namespace fs = std::filesystem;
  fs::create_directory(folder / "sub");
  fs::create_symlink("new.st", folder / "link.st");  // to a file that does not exist
  fs::create_directory_symlink("sub", folder / "folder");
  const std::string absolute = (folder / "new.st").string();
  auto expect_refused = [&](const std::string& a, const std::string& b) {
    auto expect_usage = [&](const std::vector<std::string>& arguments, const std::string& option,
                            const std::string& other) {
      const Result result = run(arguments);
      expect_failure(result, 2, option + ": '");
      EXPECT_THAT(result.err, HasSubstr("' would replace " + other + ", '"));
    };
    expect_usage({"train", "--data", "nowhere", "--out", a, "--json", b}, "--json", "--out");
    expect_usage({"quantize", "none.st", "--data", "nowhere", "--out", a, "--json", b}, "--json", "--out");
    expect_usage({"quantize", a, "--data", "nowhere", "--out", b}, "--out", "the input");
    expect_usage({"export", a, "--out", b}, "--out", "the input");
    for (const char* command : {"eval", "bench", "compare", "inspect"})
      expect_usage({command, a, "--json", b}, "--json", "the input");
    expect_usage({"compare", "none.st", a, "--json", b}, "--json", "the input");
  };
  for (const std::string& other : {std::string("new.st"), std::string("./new.st"), std::string("sub/../new.st"),
                                   std::string("folder/../new.st"), std::string("link.st"), absolute}) {
    SCOPED_TRACE(other);
    expect_refused("new.st", other);
    expect_refused(other, "new.st");
  }
  expect_refused("sub/new.st", "folder/new.st");
  expect_files({"sub", "link.st", "folder"});

  train("new.st");
  const std::string model = bytes("new.st");
  fs::create_hard_link(folder / "new.st", folder / "hard.st");
  for (const char* other : {"new.st", "sub/../new.st", "link.st", "hard.st"}) expect_refused("new.st", other);
  EXPECT_TRUE(bytes("new.st") == model);
}

TEST_F(ProgramTest, ADeviceMayTakeTwoOutputs) {
  const Result result = run(training("/dev/null", {"--json", "/dev/null"}));
  EXPECT_EQ(result.status, 0) << result.err;
}

TEST_F(ProgramTest, CompareLooksForAllModelsBeforeItMeasuresOne) {
  train("m.st");
  expect_failure({"compare", "m.st", "missing.st", "--data", "nowhere"}, 1, "missing.st");
}

TEST_F(ProgramTest, CompareTellsModelsOfFewerBitsApart) {
  train("m.st");
  struct Row {
    std::string file, label, method, dtype;
    std::vector<std::string> arguments;
  };
  const std::vector<Row> rows{
      {"m.st", "Baseline", "baseline", "float32", {}},
      {"q8.st", "Static", "static", "int8", {"--weight-bits", "8"}},
      {"w2.st", "Static, 2-bit weights", "static", "int2", {"--weight-bits", "2"}},
      {"a4.st", "Static, 4-bit activations", "static", "int8", {"--activation-bits", "4"}},
      {"d4.st",
       "Dynamic, 3-bit weights, 4-bit activations",
       "dynamic",
       "int3",
       {"--method", "dynamic", "--weight-bits", "3", "--activation-bits", "4"}},
      {"o4.st", "Weight-only", "weight-only", "int4", {"--method", "weight-only", "--weight-bits", "4"}}};
  std::vector<std::string> compare{"compare", "--data", "data", "--runs", "1"};
  for (const Row& row : rows) {
    compare.push_back(row.file);
    if (row.arguments.empty()) continue;
    std::vector<std::string> quantize{"quantize", "m.st", "--data", "data", "--out", row.file};
    quantize.insert(quantize.end(), row.arguments.begin(), row.arguments.end());
    const Result result = run(quantize);
    ASSERT_EQ(result.status, 0) << result.err;
  }
  const json compared = json_of(compare).at("rows");
  ASSERT_EQ(compared.size(), rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(compared[i]["label"], rows[i].label);
    EXPECT_EQ(compared[i]["method"], rows[i].method);
    EXPECT_EQ(compared[i]["dtype"], rows[i].dtype);
  }
}

TEST_F(ProgramTest, PercentileClipsActivations) {
  train("m.st");
  std::vector<double> scales;
  for (const char* percentile : {"100", "99", "90"}) {
    const Result result = run({"quantize", "m.st", "--data", "data", "--observer", "percentile", "--percentile",
                               percentile, "--out", "q.st"});
    ASSERT_EQ(result.status, 0) << result.err;
    const json nodes = json_of({"inspect", "q.st"}).at("nodes");
    scales.push_back(nodes.back().at("attributes").at("input_scale"));
  }
  EXPECT_GT(scales[0], scales[1]);
  EXPECT_GT(scales[1], scales[2]);
}

TEST_F(ProgramTest, OneRunHasNoStandardDeviation) {
  train("m.st");
  const std::vector<std::string> bench{"bench", "m.st", "--batch-size", "1", "--runs"},
      compare{"compare", "m.st", "--data", "data", "--runs"};
  auto with = [](std::vector<std::string> arguments, const char* runs) {
    arguments.emplace_back(runs);
    return arguments;
  };
  EXPECT_TRUE(json_of(with(bench, "1")).at("results")[0].at("std_us").is_null());
  EXPECT_TRUE(json_of(with(bench, "2")).at("results")[0].at("std_us").is_number());
  EXPECT_THAT(run(with(bench, "1")).out, testing::ContainsRegex("[0-9] +- +[0-9]"));
  const json row = json_of(with(compare, "1")).at("rows")[0], two = json_of(with(compare, "2")).at("rows")[0];
  for (const char* key : {"latency_b1_std_us", "latency_b64_std_us"}) {
    EXPECT_TRUE(row.at(key).is_null());
    EXPECT_TRUE(two.at(key).is_number());
  }
  EXPECT_THAT(run(with(compare, "1")).out, HasSubstr(" ± - "));
}

TEST_F(ProgramTest, AProtectedFileStaysAsItIs) {
  train("m.st");
  const std::string model = bytes("m.st");
  std::filesystem::create_directory(folder / "locked");
  std::filesystem::copy_file(folder / "m.st", folder / "locked" / "m.st");
  std::filesystem::permissions(folder / "m.st", std::filesystem::perms(0444));
  std::filesystem::permissions(folder / "locked", std::filesystem::perms(0555));
  const WithoutPowers guard;
  for (const char* target : {"m.st", "locked/m.st", "locked/new.st"})
    expect_failure({"train", "--data", "nowhere", "--out", target}, 1, std::string("cannot write '") + target);
  EXPECT_TRUE(bytes("m.st") == model);
  EXPECT_TRUE(bytes("locked/m.st") == model);
}

TEST_F(ProgramTest, AFullDiskLeavesTheOldFileAndNothingElse) {
  train("m.st");
  quantize("m.st", "q.st");
  const std::string model = bytes("m.st"), quantized = bytes("q.st");
  for (const rlim_t limit : {rlim_t{1000}, rlim_t{2000}}) {
    expect_failure(run(training("m.st", {"--seed", "9"}), limit), 1, "m.st");
    expect_failure(run({"quantize", "m.st", "--data", "data", "--out", "q.st"}, limit), 1, "q.st");
    EXPECT_TRUE(bytes("m.st") == model);
    EXPECT_TRUE(bytes("q.st") == quantized);
    expect_files({"m.st", "q.st"});
  }
}

// A model's file, changed by a stranger.
class HostileModelTest : public ProgramTest {
 protected:
  HostileModelTest() {
    train("m.st");
    original = load_safetensors(folder / "m.st");
  }

  /// Writes the model with these notes changed.
  void write_notes(const json& changes) {
    json notes = json::parse(original.metadata.at("notes"));
    notes.update(changes);
    TensorFile file = original;
    file.metadata["notes"] = notes.dump();
    save_safetensors(folder / "h.st", file.metadata, file.tensors);
  }

  TensorFile original;
};

TEST_F(HostileModelTest, NotesOutOfBoundsAreRefusedOnLoading) {
  const int64_t huge = int64_t{1} << 40;
  for (const json& changes : std::vector<json>{
           {{"preprocessing.pad", huge}},
           {{"preprocessing.pad", 5000}},
           {{"preprocessing.pad", -1}},
           {{"preprocessing.channels", huge}},
           {{"preprocessing.channels", 0}},
           {{"preprocessing.crop", huge}},
           {{"preprocessing.std", 0.0}},
           {{"preprocessing.mean", "dark"}},
           {{"input_shape", {huge}}},
           {{"input_shape", {2049, 2049}}},
           {{"input_shape", {-144}}},
           {{"input_shape", {0}}},
           {{"input_shape", {1, 1, 1, 1, 1, 1, 1, 144}}},
           {{"input_shape", "wide"}},
           {{"parameters", -1}},
           {{"model", ""}},
           {{"model", 7}},
           {{"method", "static\n\x1b[2J"}},
           {{"dataset", std::string(1000, 'x')}},
           {{"image_size", {0, 12}}},
           {{"image_size", {12, 4097}}},
           {{"classes", ""}},
           {{"classes", "cat//dog"}},
           {{"classes", "cat/dog/cat"}},
           {{"arrays", "letters"}},
       }) {
    SCOPED_TRACE(changes.dump());
    write_notes(changes);
    expect_failure({"eval", "h.st", "--data", "data"}, 1, "'h.st': ");
  }
  json_of({"bench", "h.st", "--runs", "1"});  // which notes are nothing to
}

TEST_F(HostileModelTest, InputsOutOfBoundsAreNotMade) {
  const json graph = json::parse(original.metadata.at("graph"));
  const auto write_input = [&](const json& attributes) {
    json changed = graph;
    changed["nodes"][0]["attributes"] = attributes;
    TensorFile file = original;
    file.metadata["graph"] = changed.dump();
    file.metadata.erase("notes");
    file.metadata["notes"] = "{}";
    save_safetensors(folder / "h.st", file.metadata, file.tensors);
  };
  for (const json& shape :
       std::vector<json>{{int64_t{1} << 40}, {2049, 2049}, {-144}, {0}, {1, 1, 1, 1, 1, 1, 1, 144}, "wide", 7, {1.5}}) {
    SCOPED_TRACE(shape.dump());
    write_input({{"dtype", "float32"}, {"sample_shape", shape}});
    expect_failure({"bench", "h.st", "--runs", "1"}, 1, "sample_shape");
    expect_failure({"compare", "h.st", "--runs", "1"}, 1, "sample_shape");
  }
  for (const json& dtype : std::vector<json>{"complex", 7, ""}) {
    write_input({{"dtype", dtype}, {"sample_shape", {144}}});
    expect_failure({"bench", "h.st", "--runs", "1"}, 1, "dtype");
  }
  write_input({{"sample_shape", {144}}});
  expect_failure({"bench", "h.st", "--runs", "1"}, 1, "dtype");
}

// Each setting is in its range; only together they make pictures of gigabytes.
TEST_F(HostileModelTest, PicturesOfAnotherShapeThanTheModelsAreRefusedBeforeTheyAreMade) {
  const std::vector<std::pair<json, std::string>> cases{
      {{{"preprocessing.pad", 4096}, {"preprocessing.channels", 4096}}, "[275683803136]"},
      {{{"preprocessing.channels", 3}}, "[432]"},
      {{{"preprocessing.crop", 10}}, "[100]"},
      {{{"preprocessing.flatten", false}}, "[1,12,12]"},
  };
  for (const auto& [changes, shape] : cases) {
    SCOPED_TRACE(changes.dump());
    write_notes(changes);
    for (const auto& arguments :
         std::vector<std::vector<std::string>>{{"eval", "h.st", "--data", "data"},
                                               {"quantize", "h.st", "--data", "data", "--out", "q.st"},
                                               {"compare", "h.st", "--data", "data", "--runs", "1"}}) {
      const Result result = run(arguments);
      expect_failure(result, 1, shape);
      EXPECT_THAT(result.err, HasSubstr("[144]"));
    }
  }
  expect_files({"m.st", "h.st"});
}

TEST_F(HostileModelTest, AnUnknownDatasetIsSaid) {
  write_notes({{"dataset", "emnist9"}});
  expect_failure({"eval", "h.st", "--data", "data"}, 1, "unknown dataset 'emnist9'; there are: mnist, fashion-mnist");
}

TEST_F(HostileModelTest, NothingThatATerminalObeysIsPrinted) {
  const std::string evil = "a\x1b[2J\x7f\u009b31m\nz";
  auto expect_harmless = [](const std::string& text) {
    EXPECT_EQ(text.find_first_of("\x1b\x7f\x9b\r\b"), std::string::npos) << json(text).dump();
    EXPECT_THAT(text, testing::Not(HasSubstr("\nz"))) << "a name begins a new line";
  };
  auto expect_all_harmless = [&](const std::string& name) {
    for (const auto& arguments : std::vector<std::vector<std::string>>{{"inspect", name},
                                                                       {"inspect", name, "--json", "-"},
                                                                       {"eval", name, "--data", "data"},
                                                                       {"compare", name, "--data", "data"},
                                                                       {"bench", name, "--runs", "1"}}) {
      const Result result = run(arguments);
      expect_harmless(result.out);
      expect_harmless(result.err);
    }
  };
  write_notes({{evil, evil}});
  expect_all_harmless("h.st");
  EXPECT_THAT(run({"inspect", "h.st"}).out, HasSubstr("a\\x1b[2J\\x7f\\xc2\\x9b31m\\nz"));

  save_safetensors(folder / "t.st", {{evil, evil}}, {{evil, NDArray::ones({2})}});
  expect_all_harmless("t.st");
  EXPECT_THAT(run({"inspect", "t.st"}).out, HasSubstr("a\\x1b[2J"));

  TensorFile renamed = original;
  json graph = json::parse(renamed.metadata.at("graph"));
  graph["nodes"].back()["name"] = graph["output"] = evil;
  renamed.metadata["graph"] = graph.dump();
  save_safetensors(folder / "g.st", renamed.metadata, renamed.tensors);
  expect_all_harmless("g.st");
  expect_failure({"inspect", "g.st"}, 1, "a\\x1b[2J");

  std::filesystem::copy_file(folder / "m.st", folder / evil);
  expect_all_harmless(evil);
}

TEST_F(ProgramTest, InspectShowsAttributesAsTheFileHoldsThem) {
  // JSON has no number for infinity.
  nn::Graph graph;
  nn::Node* input = graph.add_input("input");
  nn::Node* op = graph.add_op("relu", "relu", {{"low", -std::numeric_limits<double>::infinity()}}, {input});
  graph.set_output(op);
  save_model(graph, folder / "inf.st");
  const json nodes = json_of({"inspect", "inf.st"}).at("nodes");
  EXPECT_EQ(nodes[1]["attributes"]["low"], (json{{"double", "-inf"}}));
}

TEST_F(ProgramTest, InspectShowsTheMetadataOfOtherPrograms) {
  save_safetensors(folder / "other.st", {{"author", "a\x1b[2Jb"}}, {{"w", NDArray::ones({2})}});
  EXPECT_THAT(run({"inspect", "other.st"}).out, testing::StartsWith("metadata\n  author=a\\x1b[2Jb\n\ntensor"));
}

TEST_F(ProgramTest, EvalSaysThatAFileMayBeDamagedWhereTheLossIsNotFinite) {
  train("m.st");
  nn::Graph graph = load_model(folder / "m.st");
  graph.parameters().back().set_data(NDArray::full({10}, std::numeric_limits<double>::quiet_NaN()));
  save_model(graph, folder / "nan.st", load_checkpoint(folder / "m.st").notes);
  const Result result = run({"eval", "nan.st", "--data", "data"});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.out, HasSubstr(", loss nan, "));
  EXPECT_THAT(result.err, HasSubstr("the loss is no finite number"));
  EXPECT_EQ(run({"eval", "m.st", "--data", "data"}).err, "");
}

TEST_F(ProgramTest, TheChildThatBenchTimesTakesThreadsAndAnyName) {
  train("-m.st");
  const Result once = run({"first-answer", "--threads", "1", "--", "-m.st"});
  EXPECT_EQ(once.status, 0) << once.err;
  EXPECT_EQ(once.out, "1");
  expect_failure({"first-answer", "--threads", "0", "--", "-m.st"}, 2, "--threads");
  expect_all_keys(json_of({"bench", "--threads", "1", "--runs", "1", "--batch-size", "1", "./-m.st"}),
                  {"first_answer_ms"});
  const Result dashed = run({"bench", "--threads", "1", "--runs", "1", "--batch-size", "1", "--", "-m.st"});
  EXPECT_EQ(dashed.status, 0) << dashed.err;
}

TEST_F(ProgramTest, NeedsNoOpenBlas) {
  std::filesystem::create_directory(folder / "libraries");
  write_bytes(folder / "libraries" / "libopenblas.so.0", "not a library");
  const auto run_without = [&](std::vector<std::string> arguments) {
    const std::vector<std::string> start{"/usr/bin/env", "LD_LIBRARY_PATH=" + (folder / "libraries").string(),
                                         THIMBLE_PROGRAM};
    arguments.insert(arguments.begin(), start.begin(), start.end());
    return execute(arguments);
  };
  const Result training = run_without({"train", "--data", "data", "--out", "m.st"});
  ASSERT_EQ(training.status, 0) << training.err;
  ASSERT_EQ(run_without({"quantize", "m.st", "--data", "data", "--out", "q.st"}).status, 0);
  const Result integers = run_without({"eval", "q.st", "--data", "data"});
  EXPECT_EQ(integers.status, 0) << integers.err;
}

TEST_F(ProgramTest, FileNamesMayHoldAnything) {
  train("m.st");
  const std::string odd = "odd \"name\"\n\xff.st";
  std::filesystem::copy_file(folder / "m.st", folder / odd);
  const json compared = json_of({"compare", odd, "--data", "data", "--runs", "1"});
  EXPECT_EQ(compared.at("rows").size(), 1u);
  write_bytes(folder / odd, "damaged");
  expect_failure({"eval", odd, "--data", "data"}, 1, "odd");
}

}  // namespace
}  // namespace thimble::apps
