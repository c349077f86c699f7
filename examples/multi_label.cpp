// Several labels an example: which of three regions of the plane a point lies in, any number of them at once.
//
//   build/release/examples/multi_label
#include <iostream>

#include <thimble/thimble.h>
using namespace thimble;

data::Example example(int64_t, Generator& random) {
  const NDArray point = rand({2}, random);
  const float x = point.data<float>()[0] - 0.5F, y = point.data<float>()[1] - 0.5F;
  const auto is = [](bool inside) { return inside ? 1.0F : 0.0F; };
  const std::vector<float> labels{is(x * x + y * y < 0.1F), is(x > y), is(y > 0.2F)};
  return {{"point", point}, {"labels", NDArray::from_vector(labels)}};
}

// The loss, and how many of all labels are right.
Tensor objective(nn::Module& net, const data::Batch& batch, Means& means) {
  const Tensor logits = net(batch["point"]), &labels = batch["labels"];
  const Tensor is_right = equal(greater(logits, zeros_like(logits)), labels.to(DType::bool_));
  means.add("right", is_right.to(DType::float32).sum().item<double>(), labels.numel());
  return binary_cross_entropy_with_logits(logits, labels);
}

int main() {
  manual_seed(1);
  const data::FunctionDataset train(8000, data::FunctionDataset::RandomFunction(example));
  nn::Sequential net(nn::Linear(2, 64), nn::ReLU(), nn::Linear(64, 64), nn::ReLU(), nn::Linear(64, 3));
  optim::AdamW adam(net.parameters(), {.lr = 5e-3});
  data::DataLoader loader(train, {.batch_size = 100, .shuffle = true, .seed = 1});
  EpochLines lines(std::cout);
  fit(net, adam, loader, objective, {.epochs = 8, .schedule = optim::cosine(8 * 80), .callbacks = {&lines}});

  const nn::Graph graph = nn::trace(net.eval(), train.example());
  nn::Graph int8 = quant::quantize_model(graph, [&](nn::Graph& prepared) {
    for (const data::Batch& batch : loader) prepared(batch["point"]);
  });
  const double of_float = evaluate(net, train, objective)["right"], of_int8 = evaluate(int8, train, objective)["right"];
  std::cout << "labels that are right: float32 " << of_float << ", int8 " << of_int8 << '\n';
  return of_float > 0.97 && of_int8 > 0.96 ? 0 : 1;
}
