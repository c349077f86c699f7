// Regression: a model of one's own learns a function of two numbers, stops when it gets no better, and becomes
// integers.
//
//   build/release/examples/regression
#include <cmath>
#include <iostream>

#include <thimble/thimble.h>
using namespace thimble;

// Points of the plane and the height of a hilly ground there.
std::shared_ptr<data::TensorDataset> ground(int64_t points, uint64_t seed) {
  Generator generator(seed);
  const NDArray x = rand({points, 2}, generator);
  std::vector<float> height;
  for (int64_t i = 0; i < points; ++i) {
    const float* p = x.data<float>() + 2 * i;
    height.push_back(std::sin(4 * p[0]) * std::cos(3 * p[1]) + p[0]);
  }
  const NDArray y = NDArray::from_vector(height, {points, 1});
  return std::make_shared<data::TensorDataset>(data::Batch::Fields{{"place", x}, {"height", y}});
}

int main() {
  manual_seed(1);
  const auto all = ground(5000, 1), test = ground(1000, 2);
  const auto [train, validation] = data::random_split(all, {0.8, 0.2}, 3);
  nn::Sequential net(nn::Linear(2, 64), nn::ReLU(), nn::Linear(64, 64), nn::ReLU(), nn::Linear(64, 1));
  optim::Adam adam(net.parameters(), {.lr = 3e-3});
  data::DataLoader loader(*train, {.batch_size = 64, .shuffle = true, .seed = 1});
  EpochLines lines(std::cout);
  EarlyStopping patience("validation_loss", {.patience = 4});
  fit(net, adam, loader, regression(),
      {.epochs = 30, .evaluate = {{"validation", validation.get()}}, .callbacks = {&lines, &patience}});

  const nn::Graph graph = nn::trace(net.eval(), test->example());
  nn::Graph int8 = quant::quantize_model(graph, std::vector<Tensor>{all->all()["place"]});
  save_model(int8, "regression.int8.safetensors");
  nn::Graph loaded = load_model("regression.int8.safetensors");
  const double of_float = evaluate(net, *test, regression())["mean_absolute_error"];
  const double of_int8 = evaluate(loaded, *test, regression())["mean_absolute_error"];
  std::cout << "mean absolute error: float32 " << of_float << ", int8 " << of_int8 << '\n';
  return of_float < 0.05 && of_int8 < 0.06 ? 0 : 1;
}
