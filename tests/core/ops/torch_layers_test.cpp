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

TEST(TorchLayers, ValuesAndGradientsAgree) {
  std::ifstream file(std::string(THIMBLE_TEST_DATA) + "/torch_layer_cases.json");
  const json cases = json::parse(file).at("cases");
  ASSERT_GE(cases.size(), 40u);
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

}  // namespace
}  // namespace thimble
