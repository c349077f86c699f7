// The program on data that is not MNIST: colour pictures, texts.
#include "tests/apps/program.h"
#include <thimble/core/error.h>

namespace thimble::apps {
namespace {

using nlohmann::json;
using testing::HasSubstr;

// Pictures of class c are bright in rows 3 c to 3 c + 2 of the green plane.
std::string cifar10_records(int count) {
  std::string records;
  for (int i = 0; i < count; ++i) {
    records += static_cast<char>(i % 10);
    for (int p = 0; p < 3 * 32 * 32; ++p) {
      const bool bright = p / 1024 == 1 && p % 1024 / 32 / 3 == i % 10;
      records += static_cast<char>((bright ? 180 : 0) + (i * 31 + p * 17) % 50);
    }
  }
  return records;
}

class Cifar10ProgramTest : public ProgramTest {
 protected:
  Cifar10ProgramTest() {
    std::filesystem::create_directory(folder / "cifar");
    for (int i = 1; i <= 5; ++i) write_bytes(folder / str("cifar/data_batch_", i, ".bin"), cifar10_records(40));
    write_bytes(folder / "cifar/test_batch.bin", cifar10_records(50));
  }
};

TEST_F(Cifar10ProgramTest, TrainsAndQuantizesColourPictures) {
  for (const std::string model : {"mlp", "resnet9"}) {
    SCOPED_TRACE(model);
    const json trained = json_of({"train", "--dataset", "cifar10", "--data", "cifar", "--model", model, "--epochs", "4",
                                  "--batch-size", "20", "--lr", "0.01", "--out", "m.st"});
    ASSERT_EQ(trained["epochs"].size(), 4u);
    EXPECT_GT(trained["epochs"][3]["test_accuracy"], 0.6);
    const json evaluated = json_of({"eval", "m.st", "--data", "cifar"});
    EXPECT_EQ(evaluated["accuracy"], trained["epochs"][3]["test_accuracy"]);
    const json quantized = json_of({"quantize", "m.st", "--data", "cifar", "--out", "q.st"});
    for (const json& layer : quantized["layers"]) EXPECT_EQ(layer["kept_float"], false) << layer;
    const json integer = json_of({"eval", "q.st", "--data", "cifar"});
    EXPECT_NEAR(integer["accuracy"].get<double>(), evaluated["accuracy"].get<double>(), 0.1);
  }
}

std::vector<std::string> training_on_cifar(const std::vector<std::string>& more) {
  std::vector<std::string> arguments{
      "train", "--dataset",    "cifar10", "--data",       "cifar",  "--model", "resnet9", "--epochs",     "2", "--lr",
      "0.01",  "--batch-size", "50",      "--save-state", "states", "--out",   "m.st",    "--save-every", "3"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

// With other threads, too.
TEST_F(Cifar10ProgramTest, AnAugmentedRunGoesOnFromItsState) {
  const std::string list = "crop:4,flip,rotate:10,cutout:8,mixup:0.2";
  const std::vector<std::string> augment{"--augment", list, "--normalize", "--threads", "1"};
  Result result = run(training_on_cifar(augment));
  ASSERT_EQ(result.status, 0) << result.err;
  const std::string whole = bytes("m.st");
  std::filesystem::remove(folder / "states/state-8.safetensors");
  std::vector<std::string> resumed = augment;
  resumed.back() = "4";
  resumed.insert(resumed.end(), {"--resume", "states"});
  result = run(training_on_cifar(resumed));
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("going on from 'states/state-6"));
  EXPECT_EQ(bytes("m.st"), whole);
  resumed[1] = "crop:4,flip";
  expect_failure(training_on_cifar(resumed), 1, "--augment=crop:4,flip");
  std::filesystem::remove_all(folder / "states");
  ASSERT_EQ(run(training_on_cifar({"--normalize"})).status, 0);
  EXPECT_NE(bytes("m.st"), whole);
}

TEST_F(Cifar10ProgramTest, TheCheckpointKnowsHowItsPicturesAreNormalized) {
  const json trained = json_of({"train", "--dataset", "cifar10", "--data", "cifar", "--model", "mlp", "--epochs", "2",
                                "--normalize", "--augment", "shift:1", "--out", "m.st"});
  EXPECT_EQ(json_of({"eval", "m.st", "--data", "cifar"})["accuracy"], trained["epochs"][1]["test_accuracy"]);
  const json metadata = json_of({"inspect", "m.st"})["metadata"];
  EXPECT_THAT(metadata.dump(), HasSubstr("shift:1"));
  const json quantized = json_of(
      {"quantize", "m.st", "--data", "cifar", "--method", "qat", "--augment", "crop:2,mixup:1", "--out", "q.st"});
  EXPECT_EQ(quantized["method"], "qat");
  EXPECT_GT(json_of({"eval", "q.st", "--data", "cifar"})["accuracy"], 0.5);
  json_of({"export", "m.st", "--format", "npz", "--out", "m.npz"});
}

TEST_F(Cifar10ProgramTest, SaysWhatAugmentationIsWrong) {
  const auto training_with = [&](const std::string& list) {
    return std::vector<std::string>{"train", "--data", "data", "--augment", list, "--out", "m.st"};
  };
  for (const auto& [list, fragment] : std::vector<std::pair<std::string, std::string>>{
           {"crop:4,blur", "unknown name 'blur'; there are crop, flip, rotate, shift, cutout, mixup"},
           {"crop", "expected crop:N, pixels of padding from 1 to 4096"},
           {"crop:", "expected crop:N"},
           {"crop:1.5", "expected crop:N"},
           {"flip:2", "expected flip:X, a probability from 0 to 1"},
           {"rotate:nan", "expected rotate:X"},
           {"mixup:0", "expected mixup:X"},
           {"flip,flip", "flip is there twice"},
           {"flip,", "unknown name ''"},
           {std::string(90, 'x'), "longer than 80"}})
    expect_failure(training_with(list), 2, fragment);
  expect_failure({"quantize", "m.st", "--augment", "flip", "--out", "q.st"}, 2, "is for --method qat");
}

TEST_F(Cifar10ProgramTest, SaysWhereItsFilesComeFrom) {
  expect_failure({"train", "--dataset", "cifar10", "--data", "data", "--out", "m.st"}, 1, "cifar-10-binary.tar.gz");
}

// Sentences whose class is that of one of their words.
std::string sentences(int count) {
  std::string lines;
  for (int i = 0; i < count; ++i) {
    lines += i % 2 ? "good" : "bad";
    for (int word = 0; word < 1 + i % 7; ++word) lines += str(" w", (i * 13 + word * 7) % 40);
    lines += str('\t', i % 2, '\n');
  }
  return lines;
}

class TextProgramTest : public ProgramTest {
 protected:
  TextProgramTest() {
    std::filesystem::create_directory(folder / "texts");
    write_bytes(folder / "texts/train.tsv", sentences(300));
    write_bytes(folder / "texts/dev.tsv", sentences(60));
  }

  static std::vector<std::string> training_on_texts(const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"train", "--dataset", "sst2", "--data",       "texts", "--model",
                                       "bow",   "--hidden",  "16",   "--epochs",     "4",     "--lr",
                                       "0.01",  "--threads", "1",    "--batch-size", "20",    "--vocabulary",
                                       "30",    "--out",     "m.st"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
};

TEST_F(TextProgramTest, GoesTheWholeWayWithTexts) {
  const json trained = json_of(training_on_texts());
  EXPECT_EQ(trained["parameters"], 32 * 16 + 16 * 16 + 16 + 16 * 2 + 2);
  ASSERT_EQ(trained["epochs"].size(), 4u);
  EXPECT_GT(trained["epochs"][3]["test_accuracy"], 0.95);
  // The checkpoint knows the vocabulary: training data may be gone.
  std::filesystem::remove(folder / "texts/train.tsv");
  const json evaluated = json_of({"eval", "m.st", "--data", "texts"});
  EXPECT_EQ(evaluated["accuracy"], trained["epochs"][3]["test_accuracy"]);
  EXPECT_EQ(evaluated["images"], 60);
  const json dynamic = json_of({"quantize", "m.st", "--method", "dynamic", "--out", "d.st"});
  EXPECT_EQ(dynamic["method"], "dynamic");
  EXPECT_NEAR(json_of({"eval", "d.st", "--data", "texts"})["accuracy"].get<double>(),
              evaluated["accuracy"].get<double>(), 0.05);
  const json timed = json_of({"bench", "d.st", "--batch-size", "1,3", "--runs", "1"});
  EXPECT_EQ(timed["results"].size(), 2u);
  const json compared = json_of({"compare", "m.st", "d.st", "--data", "texts", "--runs", "1"});
  EXPECT_EQ(compared["rows"][1]["accuracy"], json_of({"eval", "d.st", "--data", "texts"})["accuracy"]);
}

TEST_F(TextProgramTest, StaticAndQatWorkOnTexts) {
  const json trained = json_of(training_on_texts());
  for (const std::string method : {"static", "qat"}) {
    SCOPED_TRACE(method);
    json_of({"quantize", "m.st", "--method", method, "--data", "texts", "--out", "q.st"});
    EXPECT_GT(json_of({"eval", "q.st", "--data", "texts"})["accuracy"], 0.9);
  }
}

// Whose sequences have an order, and ends of their own.
TEST_F(TextProgramTest, OtherModelsGoTheWholeWay) {
  for (const std::string model : {"lstm", "transformer"}) {
    SCOPED_TRACE(model);
    std::vector<std::string> arguments = training_on_texts({"--layers", "1"});
    *std::ranges::find(arguments, "bow") = model;
    const json trained = json_of(arguments);
    EXPECT_GT(trained["epochs"][3]["test_accuracy"], 0.95);
    EXPECT_EQ(json_of({"eval", "m.st", "--data", "texts"})["accuracy"], trained["epochs"][3]["test_accuracy"]);
    for (const std::string method : {"dynamic", "static"}) {
      json_of({"quantize", "m.st", "--method", method, "--data", "texts", "--out", "q.st"});
      EXPECT_GT(json_of({"eval", "q.st", "--data", "texts"})["accuracy"], 0.9) << method;
    }
  }
}

TEST_F(TextProgramTest, ARunGoesOnFromItsState) {
  const std::vector<std::string> states{"--save-state", "states", "--save-every", "7"};
  ASSERT_EQ(run(training_on_texts(states)).status, 0);
  const std::string whole = bytes("m.st");
  std::filesystem::remove(folder / "states/state-60.safetensors");
  std::filesystem::remove(folder / "states/state-56.safetensors");
  std::vector<std::string> resumed = states;
  resumed.insert(resumed.end(), {"--resume", "states"});
  const Result result = run(training_on_texts(resumed));
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("going on from 'states/state-"));
  EXPECT_EQ(bytes("m.st"), whole);
  std::vector<std::string> others = training_on_texts(resumed);
  *std::next(std::ranges::find(others, "--vocabulary")) = "20";
  expect_failure(others, 1, "--vocabulary");
}

TEST_F(TextProgramTest, ModelsAndDatasetsMustFit) {
  expect_failure({"train", "--dataset", "sst2", "--data", "texts", "--model", "cnn", "--out", "m.st"}, 1,
                 "--model cnn takes images, and --dataset sst2 has texts");
  expect_failure({"train", "--data", "data", "--model", "bow", "--out", "m.st"}, 1,
                 "--model bow takes texts, and --dataset mnist has images");
  expect_failure(training_on_texts({"--augment", "flip"}), 1, "--augment is for pictures");
  expect_failure(training_on_texts({"--normalize"}), 1, "--normalize is for pictures");
  expect_failure({"train", "--dataset", "sst2", "--data", "data", "--model", "bow", "--out", "m.st"}, 1, "train.tsv");
  ASSERT_EQ(run(training_on_texts()).status, 0);
  expect_failure({"eval", "m.st", "--dataset", "mnist", "--data", "data"}, 1, "the model was trained on texts");
  train("images.st");
  expect_failure({"eval", "images.st", "--dataset", "sst2", "--data", "texts"}, 1, "it has no vocabulary");
  for (const std::string model : {"bow", "lstm", "transformer"})
    expect_failure(
        {"train", "--dataset", "sst2", "--data", "texts", "--model", model, "--layers", "0", "--out", "n.st"}, 1,
        "--layers 1");
  expect_failure(
      {"train", "--dataset", "sst2", "--data", "texts", "--model", "transformer", "--hidden", "10", "--out", "n.st"}, 1,
      "heads");
  write_bytes(folder / "texts/train.tsv", "fine\t1\nclich\xe9\t0\n");
  expect_failure(training_on_texts(), 1, "train.tsv': line 2 is not UTF-8");
  write_bytes(folder / "texts/dev.tsv", "fine\t2\n");
  expect_failure({"eval", "m.st", "--data", "texts"}, 1, "dev.tsv': label 0 is 2, expected 0 or 1");
}

}  // namespace
}  // namespace thimble::apps
