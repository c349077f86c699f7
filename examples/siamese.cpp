// A siamese network: one encoder sees two pictures, and their distance says whether they show the same kind of thing.
//
//   build/release/examples/siamese
#include <iostream>

#include <thimble/thimble.h>
using namespace thimble;

// An 8 x 8 picture, with noise, of one of `kinds` patterns.
NDArray picture(uint32_t kind, Generator& random) {
  Generator pattern(kind);
  NDArray image = rand({64}, random);
  for (int64_t p = 0; p < 64; ++p)
    image.data<float>()[p] = 0.4F * image.data<float>()[p] + 0.6F * (pattern.uniform() > 0.5);
  return image;
}

data::Example pair(int64_t i, Generator& random) {
  constexpr uint32_t kKinds = 20;
  const uint32_t a = random.next_uint32() % kKinds, other = (a + 1 + random.next_uint32() % (kKinds - 1)) % kKinds;
  const NDArray same = NDArray::full({}, i % 2);
  return {{"a", picture(a, random)}, {"b", picture(i % 2 ? a : other, random)}, {"same", same}};
}

struct Siamese : nn::Module {
  nn::Submodule<nn::Sequential> encoder{this, "encoder", nn::Linear(64, 64), nn::ReLU(), nn::Linear(64, 16)};
  Tensor forward_all(std::span<const Tensor> pictures) override {
    return square(encoder(pictures[0]) - encoder(pictures[1])).mean(1);  // one layer, called twice
  }
};

// Distances of the same kind shall be 0, those of others at least 1 (Hadsell et al. 2006).
Tensor objective(nn::Module& net, const data::Batch& batch, Means& means) {
  const Tensor distance = net(batch["a"], batch["b"]), &same = batch["same"];
  const Tensor says_same = less(distance, full_like(distance, 0.5));
  const Tensor is_right = equal(says_same, same.to(DType::bool_));
  means.add("accuracy", is_right.to(DType::float32).sum().item<double>(), batch.size());
  return (same * distance + (1.0 - same) * relu(1.0 - distance)).mean();
}

int main() {
  manual_seed(1);
  const data::FunctionDataset pairs(6000, data::FunctionDataset::RandomFunction(pair));
  Siamese net;
  optim::Adam adam(net.parameters(), {.lr = 3e-3});
  data::DataLoader loader(pairs, {.batch_size = 50, .shuffle = true, .seed = 1});
  EpochLines lines(std::cout);
  fit(net, adam, loader, objective, {.epochs = 5, .callbacks = {&lines}});

  const data::Batch first = pairs.batch(std::vector<int64_t>{0, 1});
  nn::Graph int8 = quant::quantize_model(nn::trace(net.eval(), {first["a"], first["b"]}), [&](nn::Graph& prepared) {
    for (const data::Batch& batch : loader) prepared(batch["a"], batch["b"]);
  });
  const double of_float = evaluate(net, pairs, objective)["accuracy"],
               of_int8 = evaluate(int8, pairs, objective)["accuracy"];
  std::cout << "accuracy: float32 " << of_float << ", int8 " << of_int8 << '\n';
  return of_float > 0.95 && of_int8 > 0.94 ? 0 : 1;
}
