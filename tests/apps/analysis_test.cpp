// What quantization does to a model: thimble sensitivity, thimble errors, and thimble quantize within a budget.
#include <cmath>

#include "tests/apps/program.h"
#include <thimble/serialization/safetensors.h>

namespace thimble::apps {
namespace {

using nlohmann::json;
using testing::HasSubstr;

void expect_keys(const json& object, const std::vector<std::string>& keys) {
  for (const std::string& key : keys) EXPECT_TRUE(object.contains(key)) << key << " in " << object;
}

class AnalysisTest : public ProgramTest {
 protected:
  AnalysisTest() { train("m.st"); }

  json within(const std::vector<std::string>& budget) const {
    std::vector<std::string> arguments{"quantize", "m.st", "--data", "data", "--out", "q.st"};
    arguments.insert(arguments.end(), budget.begin(), budget.end());
    return json_of(arguments);
  }
};

TEST_F(AnalysisTest, SensitivityHasARowForEachLayer) {
  const double accuracy = json_of({"eval", "m.st", "--data", "data"})["accuracy"];
  for (const char* mode : {"one", "all-but-one"}) {
    const json result = json_of({"sensitivity", "m.st", "--data", "data", "--mode", mode, "--runs", "1"});
    expect_keys(result, {"baseline", "quantized", "baseline_latency_us", "mode", "batch_size", "layers"});
    EXPECT_EQ(result["baseline"], accuracy);
    EXPECT_EQ(result["mode"], mode);
    ASSERT_EQ(result["layers"].size(), 2u);
    for (const json& layer : result["layers"]) {
      expect_keys(layer, {"name", "type", "accuracy", "accuracy_drop", "output_sqnr_db", "layer_sqnr_db", "latency_us",
                          "latency_std_us"});
      EXPECT_DOUBLE_EQ(layer["accuracy_drop"].get<double>(), accuracy - layer["accuracy"].get<double>());
      EXPECT_GT(layer["output_sqnr_db"], 20.0);
      EXPECT_GT(layer["latency_us"], 0.0);
    }
    EXPECT_EQ(result["layers"][0]["type"], "LinearReLU");
    EXPECT_EQ(result["layers"][1]["type"], "Linear");
  }
}

// Equalization moves scales from layer to layer, which is no error.
TEST_F(AnalysisTest, ErrorsAreThoseOfQuantizationWhereLayersWereEqualized) {
  ASSERT_EQ(run({"quantize", "m.st", "--data", "data", "--equalize", "--out", "q.st"}).status, 0);
  const json errors = json_of({"errors", "m.st", "q.st", "--data", "data"});
  ASSERT_FALSE(errors["weights"].empty());
  for (const json& layer : errors["weights"]) EXPECT_GT(layer["sqnr_db"], 30.0) << layer;
}

TEST_F(AnalysisTest, SensitivityTellsBitsApart) {
  const auto output_sqnr = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"sensitivity", "m.st", "--data", "data", "--runs", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return json_of(arguments)["layers"][0]["output_sqnr_db"].get<double>();
  };
  const double eight = output_sqnr({});
  EXPECT_LT(output_sqnr({"--weight-bits", "3"}), eight - 10);
  EXPECT_LT(output_sqnr({"--activation-bits", "3"}), eight - 10);
}

TEST_F(AnalysisTest, SensitivityLooksAtSoManyTestImages) {
  const json result = json_of({"sensitivity", "m.st", "--data", "data", "--images", "7", "--runs", "1"});
  const double sevenths = result["baseline"].get<double>() * 7;
  EXPECT_NEAR(sevenths, std::round(sevenths), 1e-9);
}

TEST_F(AnalysisTest, SensitivityPrintsATable) {
  const Result result = run({"sensitivity", "m.st", "--data", "data", "--runs", "2", "--batch-size", "3"});
  EXPECT_EQ(result.status, 0) << result.err;
  for (const char* word :
       {"One layer is quantized", "batch 3", "layer", "accuracy (%)", "SQNR", "latency", "LinearReLU"})
    EXPECT_THAT(result.out, HasSubstr(word));
}

TEST_F(AnalysisTest, ErrorsAreThoseOfValuesAndOfWeights) {
  quantize("m.st", "q.st");
  const json result = json_of({"errors", "m.st", "q.st", "--data", "data"});
  expect_keys(result, {"layers", "weights"});
  ASSERT_EQ(result["layers"].size(), 2u);
  ASSERT_EQ(result["weights"].size(), 2u);
  for (const char* rows : {"layers", "weights"})
    for (const json& row : result[rows]) {
      expect_keys(row, {"name", "type", "elements", "mean_error", "largest_error", "sqnr_db"});
      EXPECT_GT(row["sqnr_db"], 25.0);
      EXPECT_LE(row["mean_error"], row["largest_error"]);
    }
  EXPECT_EQ(result["layers"][0]["elements"], 200 * 16) << "of all the training images there are";
  EXPECT_EQ(result["weights"][0]["elements"], 144 * 16);
  EXPECT_THAT(run({"errors", "m.st", "q.st", "--data", "data"}).out, HasSubstr("SQNR"));
}

TEST_F(AnalysisTest, ErrorsAreOfOneModel) {
  const auto expect_refused = [&](const std::string& difference) {
    const Result result = run({"errors", "m.st", "q.st", "--data", "data"});
    expect_failure(result, 1, "'m.st' and 'q.st' differ in their " + difference);
  };
  ASSERT_EQ(run(training("other.st", {"--crop", "10"})).status, 0);
  quantize("other.st", "q.st");
  expect_refused("shape of inputs");
  ASSERT_EQ(run({"train", "--data", "data", "--model", "cnn", "--epochs", "1", "--out", "cnn.st"}).status, 0);
  quantize("cnn.st", "q.st");
  expect_refused("model");

  quantize("m.st", "8.st");
  const auto with_note = [&](const std::string& key, const json& value) {
    TensorFile file = load_safetensors(folder / "8.st");
    json notes = json::parse(file.metadata.at("notes"));
    notes[key] = value;
    file.metadata["notes"] = notes.dump();
    save_safetensors(folder / "q.st", file.metadata, file.tensors);
  };
  with_note("dataset", "fashion-mnist");
  expect_refused("dataset");
  with_note("preprocessing.mean", 0.25);
  expect_refused("preparation of inputs");
}

TEST_F(AnalysisTest, AFileIsWithinItsBudget) {
  quantize("m.st", "8.st");
  const auto most = static_cast<int64_t>(bytes("8.st").size());
  for (const int64_t budget : {most, most - 500, most - 1000}) {
    const json result = within({"--budget", std::to_string(budget)});
    EXPECT_LE(result["size_bytes"].get<int64_t>(), budget);
    EXPECT_EQ(result["size_bytes"], bytes("q.st").size());
    expect_keys(result, {"frontier"});
    int chosen = 0;
    double before = 0;
    for (const json& point : result["frontier"]) {
      expect_keys(point, {"size_bytes", "accuracy", "divergence", "chosen", "layers"});
      EXPECT_GE(point["size_bytes"], before);
      before = point["size_bytes"];
      ASSERT_EQ(point["layers"].size(), 2u);
      for (const json& layer : point["layers"]) expect_keys(layer, {"name", "weight_bits", "weight_observer"});
      if (!point["chosen"].get<bool>()) continue;
      ++chosen;
      EXPECT_EQ(point["size_bytes"], result["size_bytes"]);
      EXPECT_EQ(point["accuracy"], result["accuracy"]);
      for (size_t i = 0; i < 2; ++i) EXPECT_EQ(point["layers"][i]["weight_bits"], result["layers"][i]["weight_bits"]);
    }
    EXPECT_EQ(chosen, 1);
    EXPECT_EQ(result["accuracy"], json_of({"eval", "q.st", "--data", "data"})["accuracy"]);
  }
}

TEST_F(AnalysisTest, WithABudgetTheAccuracyIsThatOfTheFile) {
  for (const std::vector<std::string>& passes :
       {std::vector<std::string>{"--bias-correction"}, {"--adaround", "--adaround-iterations", "20"}}) {
    std::vector<std::string> arguments{"--budget", "3500", "--activation-bits", "3"};
    arguments.insert(arguments.end(), passes.begin(), passes.end());
    const json result = within(arguments);
    EXPECT_EQ(result["accuracy"], json_of({"eval", "q.st", "--data", "data"})["accuracy"]);
  }
  EXPECT_THAT(run({"quantize", "m.st", "--data", "data", "--budget", "4000", "--out", "q.st"}).out,
              testing::ContainsRegex("\naccuracy [0-9.]+ %\n"));
}

// Of a model that is hardly trained, every change of roundings changes the accuracy.
TEST_F(AnalysisTest, AFileBelowTheWantedAccuracyIsNotWritten) {
  int refused = 0;
  for (const char* seed : {"1", "2", "3"}) {
    std::vector<std::string> barely = training("poor.st", {"--seed", seed});
    *std::ranges::find(barely, "0.01") = "0.003";
    ASSERT_EQ(run(barely).status, 0);
    const std::vector<std::string> quantize{
        "quantize", "poor.st", "--data", "data", "--activation-bits", "2", "--calibration-images",
        "20",       "--out",   "q.st"};
    std::vector<std::string> looking = quantize;
    looking.insert(looking.end(), {"--budget", "100000"});
    double wanted = 0;
    const json looked = json_of(looking);
    for (const json& point : looked["frontier"]) wanted = std::max(wanted, point["accuracy"].get<double>());
    std::filesystem::remove(folder / "q.st");
    std::vector<std::string> arguments = quantize;
    arguments.insert(arguments.end(), {"--target-accuracy", str(wanted)});
    EXPECT_EQ(run(arguments).status, 0) << "reached by one of those looked at";
    EXPECT_GE(json_of({"eval", "q.st", "--data", "data"})["accuracy"], wanted);
    std::filesystem::remove(folder / "q.st");
    arguments.emplace_back("--bias-correction");
    const Result result = run(arguments);
    if (result.status == 0) {
      EXPECT_GE(json_of({"eval", "q.st", "--data", "data"})["accuracy"], wanted);
      continue;
    }
    ++refused;
    expect_failure(result, 1, "with the other passes the accuracy is ");
    expect_files({"m.st", "poor.st"});
  }
  EXPECT_GT(refused, 0);
}

TEST_F(AnalysisTest, ABudgetThatIsTooSmallIsToldTheSmallestSize) {
  const Result result = run({"quantize", "m.st", "--data", "data", "--budget", "100", "--out", "q.st"});
  expect_failure(result, 1, "the smallest choice takes ");
  const std::string smallest = std::to_string(std::stoll(result.err.substr(result.err.find("takes ") + 6)));
  EXPECT_EQ(std::to_string(within({"--budget", smallest})["size_bytes"].get<int64_t>()), smallest);
}

TEST_F(AnalysisTest, BudgetsGoTogetherWithTheOtherPassesAndOptions) {
  for (const std::vector<std::string>& more : {std::vector<std::string>{"--equalize"},
                                               {"--bias-correction"},
                                               {"--weight-observer", "mse"},
                                               {"--weight-bits", "5"}}) {
    std::vector<std::string> arguments{"--budget", "4000"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const json result = within(arguments);
    EXPECT_LE(result["size_bytes"], 4000);
    for (const json& point : result["frontier"])
      for (const json& layer : point["layers"]) {
        EXPECT_LE(layer["weight_bits"], more[0] == "--weight-bits" ? 5 : 8);
        if (more[0] != "--weight-observer") continue;
        EXPECT_EQ(layer["weight_observer"], "mse");
      }
  }
}

TEST_F(AnalysisTest, TheSmallestFileOfEnoughAccuracyIsFound) {
  const double wanted = json_of({"eval", "m.st", "--data", "data"})["accuracy"].get<double>() - 0.05;
  const json result = within({"--target-accuracy", std::to_string(wanted)});
  EXPECT_GE(json_of({"eval", "q.st", "--data", "data"})["accuracy"], wanted);
  quantize("m.st", "8.st");
  EXPECT_LT(result["size_bytes"], bytes("8.st").size());
  for (const json& point : result["frontier"]) {
    if (point["accuracy"] < wanted) continue;
    EXPECT_GE(point["size_bytes"], result["size_bytes"]);
  }
}

TEST_F(AnalysisTest, AnAccuracyOutOfReachIsSaid) {
  std::vector<std::string> untrained = training("poor.st");
  *(std::ranges::find(untrained, "0.01")) = "0.0000001";
  ASSERT_EQ(run(untrained).status, 0);
  expect_failure({"quantize", "poor.st", "--data", "data", "--target-accuracy", "0.999", "--out", "q.st"}, 1,
                 "out of reach");
  expect_files({"m.st", "poor.st"});
}

TEST_F(AnalysisTest, WrongUseIsSaid) {
  quantize("m.st", "q.st");
  expect_failure({"sensitivity", "q.st", "--data", "data"}, 1, "quantized already");
  expect_failure({"errors", "q.st", "m.st", "--data", "data"}, 1, "give the float model first");
  expect_failure({"errors", "m.st", "m.st", "--data", "data"}, 1, "give a quantized model second");
  expect_failure({"sensitivity"}, 2, "model");
  expect_failure({"sensitivity", "m.st", "--mode", "two"}, 2, "--mode");
  expect_failure({"sensitivity", "m.st", "--weight-bits", "9"}, 2, "--weight-bits");
  expect_failure({"errors", "m.st"}, 2, "quantized");
  expect_failure({"quantize", "m.st", "--out", "x.st", "--budget", "0"}, 2, "--budget");
  expect_failure({"quantize", "m.st", "--out", "x.st", "--target-accuracy", "1.5"}, 2, "--target-accuracy");
  expect_failure({"quantize", "m.st", "--out", "x.st", "--budget", "9999", "--target-accuracy", "0.5"}, 2,
                 "--target-accuracy");
  expect_failure({"quantize", "m.st", "--out", "x.st", "--method", "qat", "--budget", "9999"}, 2, "--budget");
}

}  // namespace
}  // namespace thimble::apps
