// The program on data that is not MNIST: colour pictures, texts, arrays and folders of one's own.
#include "tests/apps/program.h"
#include "tests/nn/images/png_files.h"
#include <thimble/core/error.h>
#include <thimble/serialization/npz.h>
#include <thimble/serialization/safetensors.h>

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
  expect_failure(training_on_cifar(resumed), 1, "this one has --augment=\"crop:4,flip\"");
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

// Examples of class c are large in element c of their 4, or in rows c of 4 x 4 pixels.
template <typename T>
NDArray bright_at_class(const Shape& shape, T bright) {
  NDArray x(shape, dtype_of<T>);
  const int64_t n = shape[0], size = x.numel() / n, part = size / 4;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t e = 0; e < size; ++e)
      x.data<T>()[i * size + e] = static_cast<T>((e / part == i % 4 ? bright : 0) + (i * 7 + e) % 3);
  return x;
}

template <typename T = int64_t>
NDArray classes_in_turn(int64_t n) {
  NDArray y({n}, dtype_of<T>);
  for (int64_t i = 0; i < n; ++i) y.data<T>()[i] = static_cast<T>(i % 4);
  return y;
}

class OwnDataProgramTest : public ProgramTest {
 protected:
  static std::vector<std::string> training_on(const std::string& dataset, const std::string& data,
                                              const std::string& model, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"train",   "--dataset",    dataset,    "--data", data,
                                       "--model", model,          "--epochs", "4",      "--lr",
                                       "0.02",    "--batch-size", "20",       "--out",  "m.st"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  void expect_goes_the_whole_way(const std::string& dataset, const std::string& data, const std::string& model,
                                 const std::vector<std::string>& more = {}) const {
    SCOPED_TRACE(testing::PrintToString(std::pair(data, model)));
    const json trained = json_of(training_on(dataset, data, model, more));
    EXPECT_GT(trained["epochs"][3]["test_accuracy"], 0.9);
    EXPECT_EQ(json_of({"eval", "m.st", "--data", data})["accuracy"], trained["epochs"][3]["test_accuracy"]);
    json_of({"quantize", "m.st", "--data", data, "--out", "q.st"});
    EXPECT_GT(json_of({"eval", "q.st", "--data", data})["accuracy"], 0.85);
  }
};

TEST_F(OwnDataProgramTest, TrainsOnArraysOfAnyShape) {
  std::filesystem::create_directory(folder / "features");
  save_npz(folder / "features/train.npz", {{"x", bright_at_class<double>({120, 8}, 5)}, {"y", classes_in_turn(120)}});
  save_npz(folder / "features/test.npz", {{"x", bright_at_class<double>({40, 8}, 5)}, {"y", classes_in_turn(40)}});
  expect_goes_the_whole_way("npz", "features", "mlp");
  EXPECT_EQ(json_of(training_on("npz", "features", "mlp", {"--layers", "0"}))["parameters"], 8 * 4 + 4);
  expect_failure(training_on("npz", "features", "cnn"), 1, "[n, height, width]");
  expect_failure(training_on("npz", "features", "mlp", {"--crop", "2"}), 1, "only pictures of bytes can be cropped");
  expect_failure(training_on("npz", "features", "mlp", {"--normalize"}), 1, "--normalize is for pictures");
  expect_failure(training_on("npz", "features", "mlp", {"--augment", "flip"}), 1, "--augment is for pictures");
  expect_failure({"train", "--dataset", "npz", "--out", "m.st"}, 1, "--data says where it is");
}

// As Keras keeps them: bytes, channels last, columns of classes.
TEST_F(OwnDataProgramTest, TrainsOnPicturesInOneFile) {
  const auto column = [](int64_t n) { return classes_in_turn<uint8_t>(n).reshape({n, 1}); };
  save_npz(folder / "keras.npz", {{"x_train", bright_at_class<uint8_t>({120, 8, 8, 3}, 200)},
                                  {"y_train", column(120)},
                                  {"x_test", bright_at_class<uint8_t>({40, 8, 8, 3}, 200)},
                                  {"y_test", column(40)}});
  expect_goes_the_whole_way("npz", "keras.npz", "mlp");
  expect_goes_the_whole_way("npz", "keras.npz", "cnn", {"--normalize", "--augment", "flip,cutout:1"});
  save_npz(folder / "floats.npz", {{"x_train", bright_at_class<float>({120, 1, 8, 8}, 1)},
                                   {"y_train", column(120)},
                                   {"x_test", bright_at_class<float>({40, 1, 8, 8}, 1)},
                                   {"y_test", column(40)}});
  expect_goes_the_whole_way("npz", "floats.npz", "cnn", {"--augment", "flip"});
}

TEST_F(OwnDataProgramTest, SaysWhatIsWrongWithArrays) {
  const auto with = [&](const NamedArrays& arrays) {
    NamedArrays all{{"x_test", bright_at_class<float>({40, 8}, 1)}, {"y_test", classes_in_turn(40)}};
    all.insert(all.end(), arrays.begin(), arrays.end());
    save_npz(folder / "f.npz", all);
    return training_on("npz", "f.npz", "mlp");
  };
  const NDArray x = bright_at_class<float>({8, 8}, 1);
  expect_failure(with({{"x_train", x}}), 1, "'f.npz': has no array 'y_train', but 'x_test', 'y_test', 'x_train'");
  expect_failure(with({{"x_train", x}, {"y_train", classes_in_turn(7)}}), 1, "y_train has 7 classes");
  expect_failure(with({{"x_train", x}, {"y_train", x}}), 1, "y_train is float32[8,8], expected classes");
  expect_failure(with({{"x_train", x}, {"y_train", NDArray::full({8}, -1, DType::int32)}}), 1, "class 0 is -1");
  expect_failure(with({{"x_train", x}, {"y_train", NDArray::zeros({8}, DType::int64)}}), 1,
                 "the test set has class 3, and the training set 1 classes");
  expect_failure(with({{"x_train", bright_at_class<float>({8, 4}, 1)}, {"y_train", classes_in_turn(8)}}), 1,
                 "training examples are [4], and those of the test set [8]");
  NDArray holed = bright_at_class<float>({8, 8}, 1);
  holed.data<float>()[8 * 5 + 2] = std::numeric_limits<float>::quiet_NaN();
  expect_failure(with({{"x_train", holed}, {"y_train", classes_in_turn(8)}}), 1, "'f.npz': x_train: row 5 has nan");
  NDArray huge = NDArray::full({8, 8}, 1, DType::float64);
  huge.data<double>()[0] = 1e300;
  expect_failure(with({{"x_train", huge}, {"y_train", classes_in_turn(8)}}), 1, "'f.npz': x_train: row 0 has inf");
  expect_failure(training_on("npz", "data", "mlp"), 1, "'data' has no train.npz");
  expect_failure(training_on("npz", "nowhere.npz", "mlp"), 1, "nowhere.npz");
}

// Bytes are scaled to [0, 1], other numbers are not.
TEST_F(OwnDataProgramTest, BytesAndNumbersAreNotMixed) {
  const auto save = [&](const std::string& file, const NDArray& train, const NDArray& test) {
    save_npz(folder / file,
             {{"x_train", train}, {"y_train", classes_in_turn(40)}, {"x_test", test}, {"y_test", classes_in_turn(40)}});
  };
  const NDArray pixels = bright_at_class<uint8_t>({40, 8}, 200), numbers = pixels.to(DType::float32);
  save("mixed.npz", pixels, numbers);
  expect_failure(training_on("npz", "mixed.npz", "mlp"), 1,
                 "'mixed.npz': x_test is float32[40,8], and the model was made for pixels");
  save("numbers.npz", numbers, numbers);
  save("pixels.npz", pixels, pixels);
  json_of(training_on("npz", "numbers.npz", "mlp"));
  expect_failure({"eval", "m.st", "--data", "pixels.npz"}, 1,
                 "'pixels.npz': x_test is uint8[40,8], and the model was made for numbers");
  json_of({"quantize", "m.st", "--data", "numbers.npz", "--out", "q.st"});
  expect_failure({"eval", "q.st", "--data", "pixels.npz"}, 1, "the model was made for numbers");
}

#ifdef THIMBLE_IMAGES

class FolderProgramTest : public OwnDataProgramTest {
 protected:
  // Pictures of a class are of its colour, one of them larger than the others.
  FolderProgramTest() {
    const std::pair<const char*, std::array<uint8_t, 3>> classes[] = {
        {"blue jay", {10, 20, 200}}, {"cardinal", {200, 20, 10}}, {"parrot", {10, 200, 20}}};
    for (const auto& [split, count] : {std::pair("train", 20u), std::pair("test", 8u)})
      for (const auto& [name, colour] : classes) {
        const auto where = folder / "birds" / split / name;
        std::filesystem::create_directories(where);
        for (uint32_t i = 0; i < count; ++i) {
          auto own = colour;
          own[i % 3] = static_cast<uint8_t>(own[i % 3] + i);
          write_bytes(where / str(i, ".png"), data::plain_png(i == 3 ? 12 : 8, 8, own));
        }
      }
  }
};

TEST_F(FolderProgramTest, TrainsOnFoldersOfPictures) {
  expect_failure(training_on("folder", "birds", "mlp"), 1, "--image-size N makes them all N x N");
  expect_goes_the_whole_way("folder", "birds", "cnn", {"--image-size", "8", "--augment", "flip", "--normalize"});
  expect_goes_the_whole_way("folder", "birds", "mlp", {"--image-size", "6", "--layers", "0"});
  EXPECT_EQ(json_of(training_on("folder", "birds", "mlp", {"--image-size", "6", "--layers", "0"}))["parameters"],
            3 * 36 * 3 + 3);
}

// However large the pictures would become.
TEST_F(FolderProgramTest, SizesAreComparedBeforePicturesAreRead) {
  json_of(training_on("folder", "birds", "mlp", {"--image-size", "8"}));
  TensorFile file = load_safetensors(folder / "m.st");
  json notes = json::parse(file.metadata.at("notes"));
  notes["image_size"] = {4096, 4096};
  file.metadata["notes"] = notes.dump();
  save_safetensors(folder / "h.st", file.metadata, file.tensors);
  write_bytes(folder / "birds/test/cardinal/4.png", "damaged");
  expect_failure({"eval", "h.st", "--data", "birds"}, 1, "prepared as its notes say, are [50331648]");
}

// Numbers of classes are those of training, whatever other folders are there.
TEST_F(FolderProgramTest, TheCheckpointKnowsItsClasses) {
  const json trained = json_of(training_on("folder", "birds", "mlp", {"--image-size", "8"}));
  std::filesystem::remove_all(folder / "birds/test/blue jay");
  EXPECT_GT(json_of({"eval", "m.st", "--data", "birds"})["accuracy"], 0.9);
  std::filesystem::rename(folder / "birds/test/parrot", folder / "birds/test/ara");
  expect_failure({"eval", "m.st", "--data", "birds"}, 1, "has a folder 'ara', which is none of the 3 classes");
  write_bytes(folder / "birds/train/cardinal/4.png", "damaged");
  expect_failure(training_on("folder", "birds", "mlp", {"--image-size", "8"}), 1,
                 "cardinal/4.png': is neither PNG nor JPEG");
  expect_failure(training_on("folder", "data", "mlp"), 1, "'data' has no folder train");
  expect_failure({"train", "--data", "data", "--image-size", "8", "--out", "m.st"}, 1, "is for --dataset folder");
}

#endif

}  // namespace
}  // namespace thimble::apps
