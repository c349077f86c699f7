// Layers' ops compared with PyTorch, values and gradients.
#include <cmath>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <thimble/core/ops.h>

namespace thimble {
namespace {

using nlohmann::json;

NDArray array_of(const json& j) {
  return NDArray::from_vector(j.at("values").get<std::vector<double>>(),
                              Shape(j.at("shape").get<std::vector<int64_t>>()));
}

void expect_close(const NDArray& got, const json& expected, const char* what) {
  const NDArray e = array_of(expected);
  ASSERT_EQ(got.shape(), e.shape()) << what;
  const auto g = got.to_vector<double>(), v = e.to_vector<double>();
  for (size_t i = 0; i < v.size(); ++i) EXPECT_NEAR(g[i], v[i], 1e-6 * (1 + std::abs(v[i]))) << what << ' ' << i;
}

Pair pair(const json& options, const char* key) {
  return {options.at(key).at(0).get<int64_t>(), options.at(key).at(1).get<int64_t>()};
}

Conv2dOptions convolution(const json& o) {
  const Pair padding = pair(o, "padding");
  return {pair(o, "stride"), Padding(padding.height, padding.width), pair(o, "dilation"),
          o.at("groups").get<int64_t>()};
}

Triple triple(const json& list) {
  return {list.at(0).get<int64_t>(), list.at(1).get<int64_t>(), list.at(2).get<int64_t>()};
}

MaxPool3dOptions max_pool3d_options(const json& o) {
  const auto option = [&](const char* key, int64_t missing) {
    return o.contains(key) ? triple(o.at(key)) : Triple(missing);
  };
  return {option("stride", 1), option("padding", 0), option("dilation", 1), o.value("ceil_mode", false)};
}

Tensor run_on_volumes(const std::string& op, const json& o, const std::vector<Tensor>& in) {
  const auto option = [&](const char* key) { return triple(o.at(key)); };
  if (op.starts_with("conv")) {
    const Conv3dOptions options{option("stride"), option("padding"), option("dilation"), o.at("groups").get<int64_t>()};
    if (op == "conv3d") return conv3d(in[0], in[1], in[2], options);
    return conv_transpose3d(in[0], in[1], in[2], options, option("output_padding"));
  }
  const Triple size = triple(o.at("args").at(0));
  if (op == "adaptive_avg_pool3d") return adaptive_avg_pool3d(in[0], size);
  const MaxPool3dOptions options = max_pool3d_options(o);
  if (op == "max_pool3d") return max_pool3d(in[0], size, options);
  return avg_pool3d(in[0], size,
                    {options.stride, options.padding, options.ceil_mode, o.value("count_include_pad", true)});
}

Tensor run(const json& c, const std::vector<Tensor>& in) {
  const std::string op = c.at("op");
  const json& o = c.at("options");
  if (op == "conv2d") return conv2d(in[0], in[1], in[2], convolution(o));
  if (op == "conv_transpose2d") return conv_transpose2d(in[0], in[1], in[2], convolution(o), pair(o, "output_padding"));
  if (op == "max_pool2d")
    return max_pool2d(in[0], pair(o, "kernel"),
                      {pair(o, "stride"), pair(o, "padding"), pair(o, "dilation"), o.at("ceil_mode").get<bool>()});
  if (op == "avg_pool2d")
    return avg_pool2d(
        in[0], pair(o, "kernel"),
        {pair(o, "stride"), pair(o, "padding"), o.at("ceil_mode").get<bool>(), o.at("count_include_pad").get<bool>()});
  if (op.ends_with("3d")) return run_on_volumes(op, o, in);
  if (op == "adaptive_avg_pool2d") return adaptive_avg_pool2d(in[0], pair(o, "output_size"));
  if (op == "group_norm")
    return group_norm(in[0], o.at("groups").get<int64_t>(), in[1], in[2], o.at("eps").get<double>());
  if (op == "upsample_nearest2d") return upsample_nearest2d(in[0], pair(o, "scale"));
  throw ValueError("unknown op " + op);
}

Tensor run_batch_norm(const json& c, const std::vector<Tensor>& in) {
  const json& o = c.at("options");
  const Tensor mean(array_of(c.at("running_before").at(0))), var(array_of(c.at("running_before").at(1)));
  const Tensor y = batch_norm(in[0], in[1], in[2], mean, var,
                              {.training = o.at("training").get<bool>(),
                               .momentum = o.at("momentum").get<double>(),
                               .eps = o.at("eps").get<double>()});
  expect_close(mean.data(), c.at("running_after").at(0), "running_mean");
  expect_close(var.data(), c.at("running_after").at(1), "running_var");
  return y;
}

json cases_of(const char* file_name) {
  std::ifstream file(std::string(THIMBLE_TEST_DATA) + "/" + file_name);
  return json::parse(file).at("cases");
}

void expect_agreement(const json& cases) {
  for (const json& c : cases) {
    SCOPED_TRACE(c.at("op").get<std::string>() + ' ' + c.at("options").dump());
    std::vector<Tensor> inputs;
    for (const json& input : c.at("inputs")) inputs.emplace_back(array_of(input), true);
    const Tensor y = c.at("op") == "batch_norm" ? run_batch_norm(c, inputs) : run(c, inputs);
    expect_close(y.data(), c.at("output"), "output");
    const auto grads = grad(y, inputs, Tensor(array_of(c.at("out_grad"))));
    for (size_t i = 0; i < grads.size(); ++i) expect_close(grads[i].data(), c.at("grads").at(i), "gradient");
  }
}

TEST(TorchLayers, ValuesAndGradientsAgree) {
  const json cases = cases_of("torch_layer_cases.json");
  ASSERT_GE(cases.size(), 40u);
  expect_agreement(cases);
}

TEST(TorchLayers, ValuesAndGradientsOfVolumesAgree) {
  const json cases = cases_of("torch_volume_cases.json");
  ASSERT_GE(cases.size(), 30u);
  expect_agreement(cases);
}

TEST(TorchLayers, IndicesOfMaximaInVolumesAgree) {
  int found = 0;
  for (const json& c : cases_of("torch_volume_cases.json")) {
    if (!c.contains("indices")) continue;
    SCOPED_TRACE(c.at("options").dump());
    const json& o = c.at("options");
    const Tensor indices =
        max_pool3d_indices(array_of(c.at("inputs").at(0)), triple(o.at("args").at(0)), max_pool3d_options(o));
    EXPECT_EQ(indices.data().to_vector<int64_t>(), c.at("indices").get<std::vector<int64_t>>());
    ++found;
  }
  EXPECT_GE(found, 5);
}

}  // namespace
}  // namespace thimble
