#include "apps/text_models.h"

#include <cmath>

#include <thimble/core/ops/cast.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/logic.h>
#include <thimble/core/ops/order.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>
#include <thimble/nn/data/text.h>
#include <thimble/nn/init.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/embedding.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/layers/recurrent.h>
#include <thimble/nn/layers/transformer.h>

namespace thimble::apps {

namespace {

constexpr int64_t kPadding = data::Vocabulary::kPadding;

void check_layers(const ModelOptions& options) {
  check<ValueError>(options.layers >= 1, "--model ", options.name, " has a hidden layer at least: --layers 1");
}

// true behind the end of a text.
Tensor is_padding(const Tensor& tokens) { return equal(tokens, Tensor::scalar(kPadding, DType::int64)); }

Tensor ones_at_words(const Tensor& padding) { return cast(logical_not(padding), DType::int64); }

struct LSTMClassifier : nn::Module {
  LSTMClassifier(const ModelOptions& o, int64_t words, int64_t classes)
      : embedding(this, "embedding", words, o.hidden, nn::Embedding::Options{.padding_idx = kPadding}),
        lstm(this, "lstm", o.hidden, o.hidden, nn::LSTM::Options{.num_layers = o.layers, .batch_first = true}),
        classifier(this, "classifier", o.hidden, classes) {}

  Tensor forward(const Tensor& tokens) override {
    const nn::RecurrentOutput states = lstm->run(embedding(tokens), {}, sum(ones_at_words(is_padding(tokens)), {1}));
    return classifier(squeeze(slice(states.h_n, 0, lstm->options().num_layers - 1, lstm->options().num_layers), 0));
  }

  nn::Submodule<nn::Embedding> embedding;
  nn::Submodule<nn::LSTM> lstm;
  nn::Submodule<nn::Linear> classifier;
};

struct TransformerClassifier : nn::Module {
  static constexpr int64_t kHeads = 4;
  static constexpr int64_t kPlaces = 1 + data::TextOptions().most_words;  // 0 is none

  TransformerClassifier(const ModelOptions& o, int64_t words, int64_t classes)
      : embedding(this, "embedding", words, o.hidden, nn::Embedding::Options{.padding_idx = kPadding}),
        positions(this, "positions", kPlaces, o.hidden, nn::Embedding::Options{.padding_idx = 0}),
        encoder(this, "encoder", o.hidden, kHeads, o.layers,
                nn::TransformerEncoder::Options{.layer = {.dim_feedforward = 2 * o.hidden, .batch_first = true}}),
        classifier(this, "classifier", o.hidden, classes) {}

  Tensor forward(const Tensor& tokens) override {
    const Tensor padding = is_padding(tokens), words = ones_at_words(padding), places = cumsum(words, 1) * words;
    const Tensor x = encoder(embedding(tokens) + positions(places), Tensor(), padding);
    const Tensor weights = cast(unsqueeze(words, 2), DType::float32);
    return classifier(sum(x * weights, {1}) / clamp(sum(weights, {1}), 1));
  }

  nn::Submodule<nn::Embedding> embedding, positions;
  nn::Submodule<nn::TransformerEncoder> encoder;
  nn::Submodule<nn::Linear> classifier;
};

}  // namespace

std::unique_ptr<nn::Module> bow(const ModelOptions& options, int64_t words, int64_t classes) {
  check_layers(options);
  auto model = std::make_unique<nn::Sequential>();
  const double bound = 1 / std::sqrt(static_cast<double>(words));
  model->emplace<nn::EmbeddingBag>(Tensor(nn::init::uniform({words, options.hidden}, -bound, bound)),
                                   nn::EmbeddingBag::Options{.mode = BagMode::sum, .padding_idx = kPadding});
  for (int64_t i = 1; i < options.layers; ++i)
    model->emplace<nn::ReLU>().emplace<nn::Linear>(options.hidden, options.hidden);
  model->emplace<nn::ReLU>().emplace<nn::Linear>(options.hidden, classes);
  return model;
}

std::unique_ptr<nn::Module> lstm_classifier(const ModelOptions& options, int64_t words, int64_t classes) {
  check_layers(options);
  return std::make_unique<LSTMClassifier>(options, words, classes);
}

std::unique_ptr<nn::Module> transformer_classifier(const ModelOptions& options, int64_t words, int64_t classes) {
  check_layers(options);
  return std::make_unique<TransformerClassifier>(options, words, classes);
}

}  // namespace thimble::apps
