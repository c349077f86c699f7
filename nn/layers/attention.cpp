#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/logic.h>
#include <thimble/core/ops/matmul.h>
#include <thimble/core/ops/rearrange.h>
#include <thimble/core/ops/shape.h>
#include <thimble/nn/init.h>
#include <thimble/nn/layers/attention.h>

namespace thimble::nn {

namespace {

int64_t checked_heads(int64_t embed_dim, int64_t num_heads, const MultiheadAttention::Options& o) {
  check<ValueError>(embed_dim > 0 && num_heads > 0 && o.kdim.value_or(1) > 0 && o.vdim.value_or(1) > 0,
                    "MultiheadAttention: embed_dim ", embed_dim, ", num_heads ", num_heads,
                    ", kdim and vdim must be at least 1");
  check<ValueError>(embed_dim % num_heads == 0, "MultiheadAttention: num_heads ", num_heads,
                    " do not divide embed_dim ", embed_dim);
  return num_heads;
}

bool has_own_sizes(int64_t embed_dim, const MultiheadAttention::Options& o) {
  return o.kdim.value_or(embed_dim) != embed_dim || o.vdim.value_or(embed_dim) != embed_dim;
}

Tensor weight_if(bool wanted, const Shape& shape) { return wanted ? Tensor(init::xavier_uniform(shape)) : Tensor(); }

Tensor part_of(const Tensor& x, int64_t first, int64_t last, int64_t size) {
  return x.defined() ? slice(x, 0, first * size, last * size) : Tensor();
}

// [n, s] -> [n, 1, 1, s]; without a batch [s] -> [1, 1, s].
Tensor for_all_queries(const Tensor& key_padding_mask) {
  const int last = key_padding_mask.ndim() - 1;
  return unsqueeze(unsqueeze(key_padding_mask, last), last);
}

}  // namespace

MultiheadAttention::MultiheadAttention(int64_t embed_dim, int64_t num_heads, Options o)
    : in_proj_weight(register_parameter(
          "in_proj_weight", weight_if(checked_heads(embed_dim, num_heads, o) > 0 && !has_own_sizes(embed_dim, o),
                                      {3 * embed_dim, embed_dim}))),
      q_proj_weight(
          register_parameter("q_proj_weight", weight_if(has_own_sizes(embed_dim, o), {embed_dim, embed_dim}))),
      k_proj_weight(register_parameter(
          "k_proj_weight", weight_if(has_own_sizes(embed_dim, o), {embed_dim, o.kdim.value_or(embed_dim)}))),
      v_proj_weight(register_parameter(
          "v_proj_weight", weight_if(has_own_sizes(embed_dim, o), {embed_dim, o.vdim.value_or(embed_dim)}))),
      in_proj_bias(register_parameter("in_proj_bias", o.bias ? Tensor(NDArray::zeros({3 * embed_dim})) : Tensor())),
      embed_dim_(embed_dim),
      num_heads_(num_heads),
      options_(o),
      dropout_(o.dropout != 0 ? std::make_shared<Dropout>(o.dropout) : nullptr),
      out_proj_{this, "out_proj", embed_dim, embed_dim, Linear::Options{.bias = o.bias}} {
  if (o.bias) out_proj_->bias.mutable_data().fill(0);
  if (dropout_) register_module("dropout", dropout_);
  if (!in_proj_weight.defined()) return;
  in_proj_ = std::make_shared<Linear>(in_proj_weight, in_proj_bias);
  register_module("in_proj", in_proj_);
}

MultiheadAttention::Parts MultiheadAttention::project(const Tensor& query, const Tensor& key, const Tensor& value) {
  const bool to_itself = query.id() == key.id() && key.id() == value.id();
  if (in_proj_ && to_itself) {
    const std::vector<Tensor> all = chunk((*in_proj_)(query), 3, query.ndim() - 1);
    return {all[0], all[1], all[2]};
  }
  const auto projected = [&](const Tensor& x, int64_t i, const Tensor& own_weight) {
    const Tensor weight = own_weight.defined() ? own_weight : part_of(in_proj_weight, i, i + 1, embed_dim_);
    return linear(x, weight, part_of(in_proj_bias, i, i + 1, embed_dim_));
  };
  return {projected(query, 0, q_proj_weight), projected(key, 1, k_proj_weight), projected(value, 2, v_proj_weight)};
}

// [l, n, embed_dim] or [n, l, embed_dim] -> [n, heads, l, size]; [l, embed_dim] -> [heads, l, size].
Tensor MultiheadAttention::split_heads(const Tensor& x) const {
  const Tensor heads = unflatten(x, x.ndim() - 1, {num_heads_, embed_dim_ / num_heads_});
  if (x.ndim() == 2) return transpose(heads, 0, 1);
  return permute(heads, options_.batch_first ? Shape{0, 2, 1, 3} : Shape{1, 2, 0, 3});
}

Tensor MultiheadAttention::merge_heads(const Tensor& x) const {
  if (x.ndim() == 3) return flatten(transpose(x, 0, 1), 1, 2);
  return flatten(permute(x, options_.batch_first ? Shape{0, 2, 1, 3} : Shape{2, 0, 1, 3}), 2, 3);
}

// Bools hide, floats are added; both masks as one of each.
AttentionMasks MultiheadAttention::masks_of(const Tensor& key_padding_mask, const Tensor& attn_mask,
                                            const Shape& query) const {
  AttentionMasks masks;
  const auto take = [&](const Tensor& mask) {
    const bool is_bool = mask.dtype() == DType::bool_;
    Tensor& place = is_bool ? masks.hidden : masks.added;
    place = !place.defined() ? mask : is_bool ? bitwise_or(place, mask) : place + mask;
  };
  if (attn_mask.defined()) {
    const bool for_each_head = attn_mask.ndim() == 3 && query.ndim() == 3;
    check<ShapeError>(attn_mask.ndim() == 2 || attn_mask.ndim() == 3, "MultiheadAttention: attn_mask ",
                      attn_mask.shape(), " must be [l, s] or [n * num_heads, l, s]");
    check<ShapeError>(!for_each_head || attn_mask.shape(0) % num_heads_ == 0, "MultiheadAttention: attn_mask ",
                      attn_mask.shape(), " is not for ", num_heads_, " heads");
    take(for_each_head ? unflatten(attn_mask, 0, {-1, num_heads_}) : attn_mask);
  }
  if (key_padding_mask.defined()) {
    check<ShapeError>(key_padding_mask.ndim() == query.ndim() - 1, "MultiheadAttention: key_padding_mask ",
                      key_padding_mask.shape(), " must be [n, s], or [s] without a batch");
    take(for_all_queries(key_padding_mask));
  }
  return masks;
}

Tensor MultiheadAttention::forward_all(std::span<const Tensor> inputs) {
  check<ValueError>(inputs.size() == 1 || (inputs.size() >= 3 && inputs.size() <= 5),
                    "MultiheadAttention: expects one input, or query, key, value and masks, got ", inputs.size());
  const Tensor &query = inputs[0], &key = inputs.size() > 1 ? inputs[1] : query,
               &value = inputs.size() > 1 ? inputs[2] : query;
  const auto check_input = [&](const Tensor& x, int64_t features, const char* what) {
    check<ShapeError>((x.ndim() == 2 || x.ndim() == 3) && x.ndim() == query.ndim() && x.shape(-1) == features,
                      "MultiheadAttention: ", what, ' ', x.shape(), " must be ",
                      options_.batch_first ? "[n, length, " : "[length, n, ", features, "], or without n");
  };
  check_input(query, embed_dim_, "query");
  check_input(key, options_.kdim.value_or(embed_dim_), "key");
  check_input(value, options_.vdim.value_or(embed_dim_), "value");
  const Parts parts = project(query, key, value);
  const AttentionMasks masks =
      masks_of(inputs.size() > 3 ? inputs[3] : Tensor(), inputs.size() > 4 ? inputs[4] : Tensor(), query.shape());
  Tensor weights = attention_weights(split_heads(parts.query), split_heads(parts.key), masks);
  if (dropout_) weights = (*dropout_)(weights);
  return out_proj_(merge_heads(matmul(weights, split_heads(parts.value))));
}

Tensor causal_mask(int64_t size) {
  check<ValueError>(size > 0, "causal_mask: size ", size, " must be at least 1");
  NDArray hidden({size, size}, DType::bool_);
  bool* p = hidden.data<bool>();
  for (int64_t i = 0; i < hidden.numel(); ++i) p[i] = i % size > i / size;
  return hidden;
}

}  // namespace thimble::nn
