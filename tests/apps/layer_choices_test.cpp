// thimble quantize --keep-float, --layer-bits
#include "tests/apps/program.h"

namespace thimble::apps {
namespace {

using nlohmann::json;

class LayerChoicesTest : public ProgramTest {
 protected:
  // "weights/activations" of each layer of the model, in order; "float" for one that was kept so.
  std::vector<std::string> bits(const std::vector<std::string>& options) const {
    std::vector<std::string> arguments{"quantize", "m.st", "--data", "data", "--out", "q.st"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    std::vector<std::string> found;
    const json result = json_of(arguments);
    for (const json& layer : result["layers"])
      found.push_back(layer["kept_float"] ? "float"
                                          : std::to_string(layer["weight_bits"].get<int>()) + "/" +
                                                std::to_string(layer["activation_bits"].get<int>()));
    return found;
  }

  // The names of the layers.
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    const json result = json_of({"quantize", "m.st", "--data", "data", "--out", "q.st"});
    for (const json& layer : result["layers"]) found.push_back(layer["name"]);
    return found;
  }
};

using Bits = std::vector<std::string>;

TEST_F(LayerChoicesTest, AreMadeByNameWithEveryMethod) {
  train("m.st");
  const std::vector<std::string> layers = names();
  ASSERT_EQ(layers.size(), 2u);
  for (const std::string method : {"static", "dynamic", "qat", "weight-only"}) {
    SCOPED_TRACE(method);
    const bool floats = method == "weight-only";  // whose activations are
    const auto of = [&](int weight, int activation) {
      return std::to_string(weight) + "/" + std::to_string(floats ? 32 : activation);
    };
    EXPECT_EQ(bits({"--method", method, "--keep-float", layers[0]}), (Bits{"float", of(8, 8)}));
    EXPECT_EQ(bits({"--method", method, "--weight-bits", "4", "--activation-bits", "5", "--layer-bits", "*=6",
                    "--layer-bits", layers[1] + "=8,7"}),
              (Bits{of(6, 5), of(8, 7)}));
    EXPECT_EQ(bits({"--method", method, "--keep-float", "*", "--layer-bits", layers[1] + "=3"}),
              (Bits{"float", of(3, 8)}));
  }
  EXPECT_EQ(bits({"--keep-float", layers[1], "--budget", "100000"}).back(), "float");
}

TEST_F(LayerChoicesTest, ThatMeanNothingAreErrors) {
  train("m.st");
  const std::string first = names()[0];
  const auto with = [](const std::vector<std::string>& options) {
    std::vector<std::string> arguments{"quantize", "m.st", "--data", "data", "--out", "n.st"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    return arguments;
  };
  for (const char* method : {"static", "dynamic", "qat", "weight-only"}) {
    expect_failure(with({"--method", method, "--keep-float", "convolution*"}), 1, "its layers are '" + first + "'");
    expect_failure(with({"--method", method, "--layer-bits", "nothing=4"}), 1, "its layers are '" + first + "'");
    expect_failure(with({"--method", method, "--keep-float", "*"}), 1, "quantizes no layer");
  }
  for (const char* bad : {"fc", "fc=", "=4", "fc=1", "fc=9", "fc=4,", "fc=4,1", "fc=4,8,8", "fc=four", "fc=4x"})
    expect_failure(with({"--layer-bits", bad}), 2, "is not PATTERN=W or PATTERN=W,A");
  expect_failure(with({"--layer-bits", "*=4", "--keep-float", "*"}), 2, "is to be kept float, too");
  expect_failure(with({"--layer-bits", "*=4", "--budget", "100000"}), 2, "--budget");
  expect_failure(with({"--layer-bits", "*=4", "--target-accuracy", "0.5"}), 2, "--target-accuracy");
}

}  // namespace
}  // namespace thimble::apps
