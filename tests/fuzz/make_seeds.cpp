// The inputs that fuzzing begins with, real files of each format, small: fuzz_seeds FOLDER writes FOLDER/TARGET/NAME.
// What the folder held before is removed.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>

#include <zlib.h>

#include "tests/deflate.h"
#include "tests/fuzz/qat_run.h"
#include "tests/training_run.h"
#include <thimble/core/ops.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/batch_norm.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/dropout.h>
#include <thimble/nn/layers/embedding.h>
#include <thimble/nn/layers/group_norm.h>
#include <thimble/nn/layers/layer_norm.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/layers/pool.h>
#include <thimble/quant/passes/dynamic.h>
#include <thimble/quant/passes/weight_only.h>
#include <thimble/quant/qat/qat.h>
#include <thimble/quant/quantize.h>
#include <thimble/serialization/attributes_json.h>
#include <thimble/serialization/checkpoint.h>
#include <thimble/serialization/graph_json.h>
#include <thimble/serialization/npy.h>
#include <thimble/serialization/npz.h>
#include <thimble/serialization/safetensors.h>
#include <thimble/serialization/training_state.h>

using namespace thimble;
namespace fs = std::filesystem;

namespace {

void write_bytes(const fs::path& path, const std::string& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream out(path, std::ios::binary);
  out << bytes;
  if (!out.flush()) throw IOError(str("cannot write ", path));
}

NDArray random(const Shape& shape) { return randn(shape, default_generator()); }

// Ops as a model applies them outside of layers.
struct Ops : nn::Module {
  nn::Submodule<nn::Linear> fc{this, "fc", 6, 6};
  Tensor gain = register_parameter("gain", random({6}));
  Tensor offset = register_buffer("offset", random({6}));
  Tensor forward(const Tensor& x) override {
    Tensor h = fc(gelu(fc(flatten(x, 1)))) * gain + offset;
    h = leaky_relu(h, 0.125) * 0.5 - sigmoid(h) / (abs(h) + 1);
    h = concat({clamp(h, -1, 1), pow(h, 2)}, 1);
    return softmax(reshape(transpose(reshape(h, {-1, 2, 6}), 1, 2), {-1, 12}), -1);
  }
};

struct Residual : nn::Module {
  nn::Submodule<nn::Conv2d> a{this, "a", 1, 2, 3, nn::Conv2d::Options{.padding = 1}};
  nn::Submodule<nn::BatchNorm2d> bn{this, "bn", 2};
  nn::Submodule<nn::Conv2d> b{this, "b", 2, 2, 1, nn::Conv2d::Options{.bias = false}};
  nn::Submodule<nn::MaxPool2d> pool{this, "pool", 2};
  nn::Submodule<nn::Linear> fc{this, "fc", 8, 3};
  Tensor forward(const Tensor& x) override {
    const Tensor h = relu(bn(a(x)));
    return fc(flatten(pool(relu(h + b(h))), 1));
  }
};

struct Norms : nn::Module {
  nn::Submodule<nn::Conv1d> conv{this, "conv", 2, 4, 2};
  nn::Submodule<nn::GroupNorm> group{this, "group", 2, 4};
  nn::Submodule<nn::LayerNorm> layer{this, "layer", Shape{3}};
  nn::Submodule<nn::Dropout> dropout{this, "dropout", 0.5};
  Tensor forward(const Tensor& x) override { return mean(dropout(layer(group(conv(x)))), {1}); }
};

// One layer, called twice.
struct Twice : nn::Module {
  nn::Submodule<nn::Linear> fc{this, "fc", 4, 4};
  Tensor forward(const Tensor& x) override { return fc(relu(fc(x))); }
};

struct Words : nn::Module {
  nn::Submodule<nn::Embedding> embedding{this, "embedding", 5, 3};
  nn::Submodule<nn::EmbeddingBag> bag{this, "bag", 5, 3, nn::EmbeddingBag::Options{.padding_idx = 0}};
  Tensor forward(const Tensor& x) override { return sum(embedding(x), {1}) + bag(x); }
};

// A model in every form that it can be saved in, each as a checkpoint and as a graph.
class Models {
 public:
  explicit Models(fs::path folder) : folder_(std::move(folder)) {}

  void write(const std::string& name, const nn::Graph& graph) const {
    const Attributes notes{{"dataset", std::string("mnist")}, {"crop", int64_t{0}}, {"mean", 0.5}};
    const fs::path checkpoint = folder_ / "checkpoint" / name;
    fs::create_directories(checkpoint.parent_path());
    save_model(graph, checkpoint, notes);
    fs::create_directories(folder_ / "safetensors");
    fs::copy_file(checkpoint, folder_ / "safetensors" / name);
    write_bytes(folder_ / "graph_json" / name, detail::graph_to_json(graph));
  }

  void write_quantized(const std::string& name, nn::Module& model, const Tensor& example) const {
    const nn::Graph graph = nn::trace(model.eval(), example);
    write(name, graph);
    const auto calibrate = [&](nn::Graph& prepared) { prepared(example); };
    write(name + "_int8", quant::quantize_model(graph, calibrate));
    write(name + "_prepared", quant::prepare(graph, quant::QConfigMapping::static_int8()));
    write(name + "_dynamic", quant::quantize_dynamic(graph));
    quant::QConfig int4;
    int4.weight = {.bits = 4, .is_signed = true, .scheme = quant::QScheme::symmetric, .axis = 0, .group_size = 0};
    write(name + "_int4", quant::quantize_weight_only(graph, quant::QConfigMapping().set_global(int4)));
    write(name + "_qat", quant::prepare_qat(graph, quant::QConfigMapping::static_int8()));
  }

 private:
  fs::path folder_;
};

void write_models(const fs::path& folder) {
  const Models models(folder);
  nn::Sequential mlp(nn::Linear(4, 3), nn::ReLU(), nn::Linear(3, 2));
  models.write_quantized("mlp", mlp, Tensor(random({2, 4})));
  Residual residual;
  models.write_quantized("cnn", residual, Tensor(random({2, 1, 4, 4})));
  Twice twice;
  models.write_quantized("twice", twice, Tensor(random({2, 4})));
  Ops ops;
  models.write("ops", nn::trace(ops.eval(), Tensor(random({2, 2, 3}))));
  Norms norms;
  models.write("norms", nn::trace(norms.eval(), Tensor(random({2, 2, 4}))));
  Words words;
  models.write("words", nn::trace(words.eval(), Tensor(NDArray::zeros({2, 2}, DType::int64))));
}

void write_safetensors(const fs::path& folder) {
  NamedArrays all;
  for (const DType dtype : kAllDTypes) all.emplace_back(std::string(name(dtype)), random({2, 3}).to(dtype));
  all.emplace_back("scalar", NDArray::ones({}));
  all.emplace_back("empty", NDArray::ones({0, 2}));
  save_safetensors(folder / "safetensors" / "dtypes", {{"author", "me"}}, all);
  const std::string header = R"({"__metadata__":null,"f":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]},)"
                             R"("s":{"dtype":"F4","shape":[2,3],"data_offsets":[2,5]},)"
                             R"("b":{"dtype":"BOOL","shape":[1],"data_offsets":[5,6]},)"
                             R"("c":{"dtype":"C64","shape":[1],"data_offsets":[6,14]}})";
  const uint64_t length = header.size();
  write_bytes(folder / "safetensors" / "foreign",
              std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + std::string(14, '\3'));
}

std::string npy(const std::string& descr, const std::string& order, const std::string& shape, size_t bytes) {
  const std::string dict = "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
  return "\x93NUMPY" + std::string{'\1', '\0', static_cast<char>(dict.size()), '\0'} + dict + std::string(bytes, '\1');
}

void write_numpy(const fs::path& folder) {
  const fs::path npys = folder / "npy", npzs = folder / "npz";
  fs::create_directories(npys);
  fs::create_directories(npzs);
  NamedArrays all;
  for (const DType dtype : kAllDTypes) {
    all.emplace_back(std::string(name(dtype)), random({2, 3}).to(dtype));
    save_npy(npys / all.back().first, all.back().second);
  }
  save_npy(npys / "scalar", NDArray::ones({}));
  save_npy(npys / "empty", NDArray::ones({0, 2}));
  write_bytes(npys / "half", npy("<f2", "False", "(2, 2)", 8));
  write_bytes(npys / "bool", npy("|b1", "False", "(3,)", 3));
  write_bytes(npys / "big_endian", npy(">i4", "False", "(2, 2)", 16));
  write_bytes(npys / "fortran", npy("<f8", "True", "(2, 3)", 48));
  write_bytes(npys / "fortran_half", npy(">f2", "True", "(2, 1, 2)", 8));
  save_npz(npzs / "one", {{"weight", NDArray::ones({2, 2})}});
  save_npz(npzs / "dtypes", all);
  save_npz(npzs / "none", {});
}

std::string idx(int code, const std::vector<int>& sizes, size_t bytes) {
  std::string out{'\0', '\0', static_cast<char>(code), static_cast<char>(sizes.size())};
  for (const int size : sizes) out += {'\0', '\0', '\0', static_cast<char>(size)};
  return out + std::string(bytes, '\1');
}

std::string gzipped(const std::string& bytes) { return deflated(bytes, 16 + MAX_WBITS); }

void write_idx(const fs::path& folder) {
  const std::vector<std::pair<std::string, std::string>> files{
      {"images", idx(0x08, {2, 5, 4}, 40)}, {"labels", idx(0x08, {3}, 3)},          {"int8", idx(0x09, {2, 2}, 4)},
      {"int32", idx(0x0c, {2, 2}, 16)},     {"float32", idx(0x0d, {1, 2}, 8)},      {"float64", idx(0x0e, {2}, 16)},
      {"empty", idx(0x08, {0, 3}, 0)},      {"large", idx(0x08, {100, 100}, 10000)}};
  for (const auto& [name, bytes] : files) {
    if (name != "large") write_bytes(folder / "idx" / name, bytes);
    write_bytes(folder / "gzip" / name, gzipped(bytes));
  }
  // A gzip file may be several, one after the other.
  const std::string& images = files.front().second;
  write_bytes(folder / "gzip" / "members", gzipped(images.substr(0, 9)) + gzipped(images.substr(9)));
}

void write_cifar10(const fs::path& folder) {
  const std::string record = '\7' + std::string(3072, '\x80');
  write_bytes(folder / "cifar10" / "record", record);
  write_bytes(folder / "cifar10" / "gzip", gzipped(record + record));
}

void write_labelled_texts(const fs::path& folder) {
  const std::string lines = "a good film\t1\r\n\nnot\ta good one\t0";
  write_bytes(folder / "labelled_texts" / "lines", lines);
  write_bytes(folder / "labelled_texts" / "gzip", gzipped(lines));
}

void write_attributes(const fs::path& folder) {
  const Attributes all{{"flag", true},
                       {"integer", int64_t{3}},
                       {"number", 0.5},
                       {"text", std::string("words")},
                       {"integers", std::vector<int64_t>{1, 2}},
                       {"numbers", std::vector<double>{0.5, HUGE_VAL, NAN}},
                       {"none", std::vector<double>{}}};
  write_bytes(folder / "graph_json" / "attributes", detail::attributes_to_json(all));
}

// With what the program notes of its progress.
void write_training_states(const fs::path& folder) {
  const Attributes progress{{"epoch", int64_t{1}},
                            {"step", int64_t{2}},
                            {"loss_sum", 0.5},
                            {"epochs.train_loss", std::vector<double>{0.25}},
                            {"settings.model", std::string("mlp")}};
  const fs::path states = folder / "training_state";
  fs::create_directories(states);
  SmallTrainingRun run;
  save_training_state(states / "start", run.state());
  run.steps(2);
  save_training_state(states / "mlp", run.state(progress));
  fuzz::QatRun qat;
  qat.step();
  save_training_state(states / "qat", capture(qat.net, qat.optimizer, default_generator(), progress));
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) {
    std::cerr << "usage: fuzz_seeds FOLDER\n";
    return 2;
  }
  manual_seed(1);
  const fs::path folder = argv[1];
  fs::remove_all(folder);
  write_models(folder);
  write_safetensors(folder);
  write_numpy(folder);
  write_idx(folder);
  write_cifar10(folder);
  write_labelled_texts(folder);
  write_attributes(folder);
  write_training_states(folder);
  return 0;
} catch (const std::exception& error) {
  std::cerr << "fuzz_seeds: " << error.what() << '\n';
  return 1;
}
