// Trains an imported network on for another task: its last fully connected layer is a new one, whose results become the
// model's output, and learns with the one before; all other layers are frozen. It is trained with the rounding of 8-bit
// integers, and leaves as ONNX again, to be run in integers.
//
//   build/release/examples/fine_tune_onnx MODEL.onnx DATA.npz OUT.onnx [EPOCHS, 3 by default]
//
// Takes any network with a fully connected layer in front of its output. DATA.npz has the arrays x (float32) and y
// (int64, classes from 0 on) to learn from, test_x and test_y to be tested with: see scripts/onnx-fine-tune.
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>
#include <utility>

#include <thimble/nn/graph/sample.h>
#include <thimble/serialization/onnx/export.h>
#include <thimble/serialization/onnx/import.h>
#include <thimble/thimble.h>
using namespace thimble;

struct Samples {
  NDArray x, y;
  int64_t size() const { return y.numel(); }
  Tensor inputs(int64_t first, int64_t end) const { return x.slice(0, first, end); }
  Tensor labels(int64_t first, int64_t end) const { return y.slice(0, first, end); }
};

// All that is left to be trained are the last two fully connected layers, of which the last is new.
void prepare(nn::Graph& net, int64_t classes) {
  for (Tensor& parameter : net.parameters()) parameter.set_requires_grad(false);
  nn::Node *last = nullptr, *before = nullptr;
  for (nn::Node* node : net.nodes())
    if (net.is_layer(node, "Linear")) before = std::exchange(last, node);
  if (!last) throw ValueError("the network has no fully connected layer");
  if (before) net.layer_as<nn::Linear>(before)->weight.set_requires_grad(true);
  net.replace_layer(last, std::make_shared<nn::Linear>(net.layer_as<nn::Linear>(last)->in_features(), classes));
  net.set_outputs({{"logits", last}});  // without a sigmoid or softmax that comes behind
  net.eliminate_dead_nodes();
}

void train(nn::Graph& net, const Samples& samples, int64_t epochs) {
  constexpr int64_t kBatch = 32;
  optim::Adam adam(net.parameters(), {.lr = 2e-3});
  for (int64_t epoch = 0; epoch < epochs; ++epoch)
    for (int64_t i = 0; i + kBatch <= samples.size(); i += kBatch) {
      const Tensor loss = cross_entropy(net(samples.inputs(i, i + kBatch)), samples.labels(i, i + kBatch));
      adam.zero_grad();
      loss.backward();
      adam.step();
    }
}

double accuracy_on(nn::Graph& net, const Samples& samples) {
  const NoGrad guard;
  constexpr int64_t kBatch = 50;
  int64_t right = 0;
  for (int64_t i = 0; i < samples.size(); i += kBatch) {
    const int64_t end = std::min(i + kBatch, samples.size());
    const auto answers = argmax(net(samples.inputs(i, end)).data(), 1).to_vector<int64_t>();
    const auto wanted = samples.labels(i, end).data().to_vector<int64_t>();
    for (size_t k = 0; k < answers.size(); ++k) right += answers[k] == wanted[k];
  }
  return static_cast<double>(right) / static_cast<double>(samples.size());
}

int main(int argc, char** argv) try {
  if (argc < 4 || argc > 5) throw ValueError("usage: fine_tune_onnx MODEL.onnx DATA.npz OUT.onnx [EPOCHS]");
  nn::Graph net = onnx::import_model(argv[1]);
  std::map<std::string, NDArray> data;
  for (const auto& [name, array] : load_npz(argv[2])) data[name] = array;
  const Samples samples{data.at("x"), data.at("y")}, test{data.at("test_x"), data.at("test_y")};
  const auto labels = samples.y.to_vector<int64_t>();

  prepare(net, *std::max_element(labels.begin(), labels.end()) + 1);
  nn::Graph qat = quant::prepare_qat(net, quant::QConfigMapping::static_int8());
  quant::freeze_bn_stats(qat);
  train(qat, samples, argc > 4 ? std::atoll(argv[4]) : 3);
  qat.eval();
  nn::Graph int8 = quant::convert(qat);
  std::cout << "accuracy in integers: " << accuracy_on(int8, test) << '\n';
  int8.inputs()[0]->attributes = nn::sample_attributes(test.inputs(0, 1));  // other sizes than the network came with
  onnx::export_model(int8, argv[3]);
  return 0;
} catch (const std::exception& error) {
  std::cerr << "fine_tune_onnx: " << error.what() << '\n';
  return 1;
}
