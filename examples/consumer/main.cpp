// Fits a line with gradient descent, then runs a small network in integer arithmetic.
#include <cmath>
#include <iostream>

#include <thimble/thimble.h>

int main() {
  using namespace thimble;

  nn::Linear line(1, 1);
  const Tensor x(NDArray::from_vector<float>({-1, 0, 1, 2}, {4, 1}));
  const Tensor y(NDArray::from_vector<float>({-1, 1, 3, 5}, {4, 1}));  // 2 x + 1
  optim::SGD sgd(line.parameters(), {.lr = 0.1});
  for (int step = 0; step < 200; ++step) {
    sgd.zero_grad();
    mse_loss(line(x), y).backward();
    sgd.step();
  }
  const float slope = line.weight.item<float>(), intercept = line.bias.item<float>();
  std::cout << "y = " << slope << " x + " << intercept << '\n';

  nn::Sequential net(nn::Linear(8, 16), nn::ReLU(), nn::Linear(16, 4));
  const Tensor data(randn({64, 8}, default_generator()));
  const nn::Graph graph = nn::trace(net.eval(), data);
  nn::Graph int8 = quant::quantize_model(graph, [&](nn::Graph& prepared) { prepared(data); });
  std::cout << int8.table();

  const bool right =
      std::abs(slope - 2) < 0.01f && std::abs(intercept - 1) < 0.01f && int8(data).shape() == Shape{64, 4};
  return right ? 0 : 1;
}
