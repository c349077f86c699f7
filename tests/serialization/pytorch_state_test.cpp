// What examples/from_pytorch/state_dict.py wrote with torch 1.13 loads by name and gives torch's answers:
//   python3 examples/from_pytorch/state_dict.py tests/data/pytorch
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "examples/from_pytorch/net.h"

namespace thimble {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TensorFile of_pytorch(const std::string& name) {
  return load_safetensors(THIMBLE_TEST_DATA "/pytorch/" + name + ".safetensors");
}

void expect_answers(from_pytorch::Net& net, double tolerance) {
  const auto answers = of_pytorch("answers").tensors;
  NoGrad guard;
  const NDArray got = net.eval()(answers.at(0).second).data(), &expected = answers.at(1).second;
  ASSERT_EQ(got.shape(), expected.shape());
  const auto y = got.to_vector<double>(), e = expected.to_vector<double>();
  for (size_t i = 0; i < e.size(); ++i) EXPECT_NEAR(y[i], e[i], tolerance) << i;
}

TEST(PyTorchState, LoadsByNameAndGivesTheSameAnswers) {
  from_pytorch::Net net;
  net.load_state(of_pytorch("net").tensors);
  EXPECT_EQ(net.state().size(), of_pytorch("net").tensors.size());
  expect_answers(net, 1e-5);
}

TEST(PyTorchState, HalfPrecisionLoadsAsTheParametersAre) {
  const TensorFile file = of_pytorch("net.half");
  EXPECT_EQ(file.tensors.at(0).second.dtype(), DType::float16);
  from_pytorch::Net net;
  net.load_state(file.tensors);
  EXPECT_EQ(net.down->weight.dtype(), DType::float32);
  EXPECT_EQ(net.down->weight.data().to_vector<float>(),
            of_pytorch("net").tensors.at(6).second.to(DType::float16).to_vector<float>());
  expect_answers(net, 0.02);
}

TEST(PyTorchState, PartsAreReported) {
  NamedArrays tensors = of_pytorch("net").tensors;
  tensors.back().first = "head.6.bias";
  from_pytorch::Net net;
  EXPECT_THROW(net.load_state(tensors), ValueError);
  const nn::LoadStateReport report = net.load_state(tensors, {.strict = false});
  EXPECT_THAT(report.missing, ElementsAre("head.5.bias"));
  EXPECT_THAT(report.unexpected, ElementsAre("head.6.bias"));
}

std::vector<std::string> names_of(const nn::Module& module) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : module.state()) names.push_back(name);
  return names;
}

// torch.nn's names and shapes, layer by layer; those of the other layers are in the file.
TEST(PyTorchState, LayersNameTheirTensorsAsPyTorchDoes) {
  EXPECT_THAT(names_of(nn::Conv1d(2, 3, 5)), ElementsAre("weight", "bias"));
  EXPECT_EQ(nn::Conv1d(2, 3, 5).weight.shape(), (Shape{3, 2, 5}));
  EXPECT_THAT(names_of(nn::Conv3d(2, 3, 5)), ElementsAre("weight", "bias"));
  EXPECT_EQ(nn::Conv3d(4, 6, {5, 3, 2}, {.groups = 2}).weight.shape(), (Shape{6, 2, 5, 3, 2}));
  EXPECT_EQ(nn::ConvTranspose3d(4, 6, {5, 3, 2}, {.groups = 2}).weight.shape(), (Shape{4, 3, 5, 3, 2}));
  EXPECT_THAT(names_of(nn::BatchNorm3d(4)),
              ElementsAre("weight", "bias", "running_mean", "running_var", "num_batches_tracked"));
  EXPECT_THAT(names_of(nn::Embedding(7, 3)), ElementsAre("weight"));
  EXPECT_EQ(nn::Embedding(7, 3).weight.shape(), (Shape{7, 3}));
  EXPECT_THAT(names_of(nn::EmbeddingBag(7, 3)), ElementsAre("weight"));
  EXPECT_THAT(names_of(nn::BatchNorm2d(4, {.affine = false})),
              ElementsAre("running_mean", "running_var", "num_batches_tracked"));
  EXPECT_THAT(names_of(nn::Linear(2, 3, {.bias = false})), ElementsAre("weight"));
  EXPECT_THAT(names_of(nn::Dropout(0.5)), IsEmpty());
}

}  // namespace
}  // namespace thimble
