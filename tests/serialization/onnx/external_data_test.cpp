// Files beside a model that are not what they should be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/serialization/files.h"
#include "tests/serialization/onnx/model_builder.h"

namespace thimble::onnx {
namespace {

using ::testing::HasSubstr;

// Data beside the model.
class OnnxHostileData : public ::testing::Test {
 protected:
  static ModelBuilder model(const std::string& location, int tensors = 1) {
    ModelBuilder built;
    built.input("x", {-1});
    std::vector<std::string> names{"x"};
    for (int i = 0; i < tensors; ++i) {
      ::onnx::TensorProto& w = *built.proto().mutable_graph()->add_initializer();
      names.push_back("w" + std::to_string(i));
      w.set_name(names.back());
      w.set_data_type(::onnx::TensorProto::FLOAT);
      w.add_dims(4096);
      w.set_data_location(::onnx::TensorProto::EXTERNAL);
      auto* entry = w.add_external_data();
      entry->set_key("location");
      entry->set_value(location);
    }
    return built.node("Sum", names, {"y"}).output("y");
  }

  std::filesystem::path data() {
    const std::filesystem::path path = folder_.path() / "data";
    std::ofstream(path, std::ios::binary) << std::string(16384, '\0');
    return path;
  }

  std::string complaint(const ModelBuilder& built, const std::filesystem::path& folder) {
    try {
      Importer(ModelBuilder(built).proto(), folder, {}, 1 << 16).run();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }

  TempFolder folder_;
};

TEST_F(OnnxHostileData, IsNoPipeAndNoDevice) {
  ASSERT_EQ(::mkfifo((folder_.path() / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(complaint(model("pipe"), folder_.path()), HasSubstr("a device or a pipe"));
  EXPECT_THAT(complaint(model("null"), "/dev"), HasSubstr("a device or a pipe"));
}

TEST_F(OnnxHostileData, LiesInTheFolderWhereLinksLead) {
  data();
  std::filesystem::create_directory(folder_.path() / "inner");
  std::filesystem::create_symlink("../data", folder_.path() / "inner" / "link");
  EXPECT_EQ(complaint(model("data"), folder_.path()), "");
  EXPECT_EQ(complaint(model("inner/link"), folder_.path()), "");
  EXPECT_THAT(complaint(model("link"), folder_.path() / "inner"), HasSubstr("not a file in the model's folder"));
  EXPECT_NE(complaint(model("data"), folder_.path() / "missing"), "");
}

TEST_F(OnnxHostileData, OfNoFolderLiesInTheCurrentOne) {
  data();
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder_.path());
  EXPECT_EQ(complaint(model("data"), ""), "");
  std::filesystem::current_path(before);
}

TEST_F(OnnxHostileData, ThatManyTensorsHaveInCommonIsCountedOnce) {
  data();
  EXPECT_EQ(complaint(model("data", 2), folder_.path()), "");
  EXPECT_THAT(complaint(model("data", 100), folder_.path()), HasSubstr("bytes of nodes, constants and copies"));
}

}  // namespace
}  // namespace thimble::onnx
