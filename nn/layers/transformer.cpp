#include <thimble/core/ops/elementwise.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/transformer.h>

namespace thimble::nn {

namespace {

void check_encoder_inputs(const char* type, std::span<const Tensor> inputs) {
  check<ValueError>(!inputs.empty() && inputs.size() <= 3, type, ": expects x, a mask and a key padding mask, got ",
                    inputs.size(), " inputs");
}

int64_t checked_feedforward(int64_t size) {
  check<ValueError>(size > 0, "TransformerEncoderLayer: dim_feedforward ", size, " must be at least 1");
  return size;
}

}  // namespace

TransformerEncoderLayer::TransformerEncoderLayer(int64_t d_model, int64_t nhead, Options o)
    : options_(o),
      self_attn_{this, "self_attn", d_model, nhead,
                 MultiheadAttention::Options{.dropout = o.dropout, .batch_first = o.batch_first}},
      linear1_{this, "linear1", d_model, checked_feedforward(o.dim_feedforward)},
      dropout_{this, "dropout", o.dropout},
      linear2_{this, "linear2", o.dim_feedforward, d_model},
      norm1_{this, "norm1", Shape{d_model}, LayerNorm::Options{.eps = o.layer_norm_eps}},
      norm2_{this, "norm2", Shape{d_model}, LayerNorm::Options{.eps = o.layer_norm_eps}},
      dropout1_{this, "dropout1", o.dropout},
      dropout2_{this, "dropout2", o.dropout} {}

Tensor TransformerEncoderLayer::forward_all(std::span<const Tensor> inputs) {
  check_encoder_inputs("TransformerEncoderLayer", inputs);
  const Tensor& x = inputs[0];
  if (options_.norm_first) {
    const Tensor h = x + attend(norm1_(x), inputs.subspan(1));
    return h + feed_forward(norm2_(h));
  }
  const Tensor h = norm1_(x + attend(x, inputs.subspan(1)));
  return norm2_(h + feed_forward(h));
}

Tensor TransformerEncoderLayer::attend(const Tensor& x, std::span<const Tensor> masks) {
  const Tensor attn_mask = masks.empty() ? Tensor() : masks[0], padding = masks.size() < 2 ? Tensor() : masks[1];
  return dropout1_(self_attn_(x, x, x, padding, attn_mask));
}

Tensor TransformerEncoderLayer::feed_forward(const Tensor& x) {
  const Tensor h = linear1_(x);
  return dropout2_(linear2_(dropout_(options_.activation == Activation::relu ? relu(h) : gelu(h))));
}

TransformerEncoder::TransformerEncoder(int64_t d_model, int64_t nhead, int64_t num_layers, Options o) {
  check<ValueError>(num_layers > 0, "TransformerEncoder: num_layers ", num_layers, " must be at least 1");
  auto layers = std::make_shared<Sequential>();
  for (int64_t i = 0; i < num_layers; ++i) layers->emplace<TransformerEncoderLayer>(d_model, nhead, o.layer);
  register_module("layers", layers_ = layers);
  if (!o.norm) return;
  norm_ = std::make_shared<LayerNorm>(Shape{d_model}, LayerNorm::Options{.eps = o.layer.layer_norm_eps});
  register_module("norm", norm_);
}

Tensor TransformerEncoder::forward_all(std::span<const Tensor> inputs) {
  check_encoder_inputs("TransformerEncoder", inputs);
  std::vector<Tensor> arguments(inputs.begin(), inputs.end());
  for (const auto& [name, layer] : layers_->children()) arguments[0] = layer->call(arguments);
  return norm_ ? (*norm_)(arguments[0]) : arguments[0];
}

}  // namespace thimble::nn
