#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include <thimble/core/kernels/weight_only/bit_packing.h>
#include <thimble/core/kernels/weight_only/quantized_rows.h>
#include <thimble/core/ops/embedding_bag.h>
#include <thimble/nn/inference/embedding_steps.h>
#include <thimble/quant/layers/packed_rows.h>
#include <thimble/quant/layers/product_weights.h>
#include <thimble/quant/layers/quantized_embedding.h>

namespace thimble::quant {

namespace {

IntegerTable::Config table_config_from(const Attributes& a) {
  const auto bits = a.get<int64_t>("bits");
  check_bits(bits, "a table of integers");
  IntegerTable::Config config{.num_embeddings = a.get<int64_t>("num_embeddings"),
                              .embedding_dim = a.get<int64_t>("embedding_dim"),
                              .bits = static_cast<int>(bits),
                              .scheme = qscheme_from_name(a.get<std::string>("scheme")),
                              .is_signed = a.get("signed", false)};
  if (a.contains("padding_idx")) config.padding_idx = a.get<int64_t>("padding_idx");
  return config;
}

std::shared_ptr<nn::Module> quantized_embedding_from(const Attributes& a) {
  return std::make_shared<QuantizedEmbedding>(table_config_from(a));
}

std::shared_ptr<nn::Module> quantized_embedding_bag_from(const Attributes& a) {
  return std::make_shared<QuantizedEmbeddingBag>(table_config_from(a), bag_mode_from_name(a.get<std::string>("mode")));
}

const nn::LayerRegistration quantized_embedding_registrations[] = {
    {"QuantizedEmbedding", quantized_embedding_from},
    {"QuantizedEmbeddingBag", quantized_embedding_bag_from},
};

IntegerTable::Config affine_config(const Tensor& table, std::optional<int64_t> padding_idx, int bits) {
  return {.num_embeddings = table.shape(0), .embedding_dim = table.shape(1), .bits = bits, .padding_idx = padding_idx};
}

NDArray contiguous_if_defined(const Tensor& x) { return x.defined() ? x.data().contiguous() : NDArray(); }

void read_bags(const kernels::QuantizedRows& table, const kernels::Bags& bags, const NDArray& scales, BagMode mode,
               NDArray& out) {
  if (mode == BagMode::max)
    kernels::quantized_bag_max(table, bags, out);
  else
    kernels::quantized_bag_sum(table, bags, scales, mode == BagMode::mean, out);
}

}  // namespace

struct IntegerTable::Table {
  NDArray weight, scale, zero_point;
  kernels::QuantizedRows rows;
};

IntegerTable::IntegerTable(const char* type, const Config& c) : type_(type), config_(c) {
  const auto in_range = [](int64_t d) { return d >= 1 && d <= INT32_MAX; };
  check<ValueError>(in_range(c.num_embeddings) && in_range(c.embedding_dim), type, ": num_embeddings ",
                    c.num_embeddings, " and embedding_dim ", c.embedding_dim, " must be between 1 and ", INT32_MAX);
  check_bits(c.bits, type);
  check<ValueError>(!c.is_signed || (c.bits == 8 && c.scheme == QScheme::symmetric), type,
                    ": signed integers are for symmetric tables of 8 bits");
  check<ValueError>(!c.padding_idx || (*c.padding_idx >= 0 && *c.padding_idx < c.num_embeddings), type,
                    ": padding_idx ", c.padding_idx.value_or(0), " is no row of the table");
  const Shape packed{c.num_embeddings, kernels::packed_bytes(c.embedding_dim, c.bits)};
  weight_ = register_buffer("weight", NDArray::placeholder(packed, c.is_signed ? DType::int8 : DType::uint8));
  scale_ = register_buffer("weight_scale", NDArray::placeholder({c.num_embeddings}));
  if (c.scheme == QScheme::affine)
    zero_point_ = register_buffer("weight_zero_point", NDArray::placeholder({c.num_embeddings}, DType::uint8));
  eval();  // integers are not trained
}

void IntegerTable::load_float(const NDArray& table, const std::string& observer) {
  check<ShapeError>(table.shape() == Shape{config_.num_embeddings, config_.embedding_dim}, type_, ": got a table ",
                    table.shape(), " for ", config_.num_embeddings, " rows of ", config_.embedding_dim);
  const bool is_affine = config_.scheme == QScheme::affine;
  const QuantizationSpec spec{.bits = config_.bits, .is_signed = !is_affine, .scheme = config_.scheme, .axis = 0};
  const QParams p = WeightQuantization{spec, observer}.qparams(table);
  const NDArray integers = quantize(table, p);
  NamedArrays arrays{{"weight", config_.is_signed ? integers : pack_rows(integers, config_.bits)},
                     {"weight_scale", NDArray::from_vector(p.scale)}};
  if (is_affine) arrays.emplace_back("weight_zero_point", NDArray::from_vector(p.zero_point).to(DType::uint8));
  load_state(arrays);
}

void IntegerTable::state_changed() {
  const NDArray scales = scale_.data().contiguous();
  const float* scale = scales.data<float>();
  for (int64_t r = 0; r < config_.num_embeddings; ++r)
    check<ValueError>(std::isfinite(scale[r]) && scale[r] > 0, type_, ": weight scale ", scale[r],
                      " is not positive and finite");
  if (zero_point_.defined()) {
    const NDArray zero_points = zero_point_.data().contiguous();
    const uint8_t* zero_point = zero_points.data<uint8_t>();
    for (int64_t r = 0; r < config_.num_embeddings; ++r)
      check<ValueError>(zero_point[r] >> config_.bits == 0, type_, ": weight zero point ", int{zero_point[r]},
                        " is not in [0, ", (1 << config_.bits) - 1, "]");
  }
  if (const auto used = static_cast<int>(config_.embedding_dim * config_.bits % 8)) {
    const NDArray last = weight_.data().slice(1, -1, weight_.shape(1)).contiguous();
    for (int64_t r = 0; r < config_.num_embeddings; ++r)
      check<ValueError>(last.data<uint8_t>()[r] >> used == 0, type_, ": a row of the table ends with byte ",
                        int{last.data<uint8_t>()[r]}, ", of which only ", used,
                        " bits are its integers; the others must be 0");
  }
  loaded_ = true;
}

IntegerTable::Table IntegerTable::table() const {
  check<ValueError>(loaded_, type_, ": it has no table yet");
  Table t{weight_.data().contiguous(), scale_.data().contiguous(), contiguous_if_defined(zero_point_), {}};
  const NDArray &weight = t.weight, &zero_point = t.zero_point;
  t.rows = {.values = static_cast<const uint8_t*>(weight.raw()),
            .columns = config_.embedding_dim,
            .bits = config_.bits,
            .is_signed = config_.is_signed,
            .scale = std::as_const(t.scale).data<float>(),
            .zero_point = zero_point.defined() ? zero_point.data<uint8_t>() : nullptr};
  return t;
}

NDArray IntegerTable::unpacked() const {
  return config_.is_signed ? weight_.data() : unpack_rows(weight_.data(), config_.embedding_dim, config_.bits);
}

NDArray IntegerTable::dequantized_weight() const {
  QParams p{{.bits = config_.bits, .is_signed = config_.is_signed, .axis = 0}, scale_.data().to_vector<float>(), {}};
  p.zero_point = zero_point_.defined()
                     ? zero_point_.data().to_vector<int32_t>()
                     : std::vector<int32_t>(p.scale.size(), config_.is_signed ? 0 : 1 << (config_.bits - 1));
  return dequantize(unpacked(), p);
}

Attributes IntegerTable::attributes() const {
  Attributes all{{"num_embeddings", config_.num_embeddings},
                 {"embedding_dim", config_.embedding_dim},
                 {"bits", int64_t{config_.bits}},
                 {"scheme", std::string(quant::name(config_.scheme))}};
  if (config_.is_signed) all.set("signed", true);
  if (config_.padding_idx) all.set("padding_idx", *config_.padding_idx);
  return all;
}

QuantizedEmbedding::QuantizedEmbedding(const Config& config) : IntegerTable("QuantizedEmbedding", config) {}

std::shared_ptr<QuantizedEmbedding> QuantizedEmbedding::from_float(const nn::Embedding& embedding, int bits,
                                                                   const std::string& observer) {
  auto layer = std::make_shared<QuantizedEmbedding>(affine_config(embedding.weight, embedding.padding_idx(), bits));
  layer->load_float(embedding.weight.data(), observer);
  return layer;
}

Tensor QuantizedEmbedding::forward(const Tensor& index) {
  Shape shape = index.shape();
  const NDArray flat = index.data().contiguous().reshape({shape.numel(), 1});
  const kernels::Bags bags = bags_of(flat, NDArray(), config().num_embeddings, -1, type());
  shape.push_back(config().embedding_dim);
  NDArray out({flat.shape(0), config().embedding_dim});
  kernels::quantized_rows(table().rows, bags, out);
  return out.reshape(shape);
}

std::unique_ptr<nn::InferenceStep> QuantizedEmbedding::inference_step(std::span<const nn::ValueInfo> inputs) const {
  return nn::embedding_step(inputs, config().embedding_dim,
                            [table = table(), count = config().num_embeddings](const NDArray& index, NDArray& out) {
                              kernels::quantized_rows(table.rows,
                                                      bags_of(index, NDArray(), count, -1, "QuantizedEmbedding"), out);
                            });
}

QuantizedEmbeddingBag::QuantizedEmbeddingBag(const Config& config, BagMode mode)
    : IntegerTable("QuantizedEmbeddingBag", config), mode_(mode) {}

std::shared_ptr<QuantizedEmbeddingBag> QuantizedEmbeddingBag::from_float(const nn::EmbeddingBag& bag, int bits,
                                                                         const std::string& observer) {
  auto layer = std::make_shared<QuantizedEmbeddingBag>(affine_config(bag.weight, bag.padding_idx(), bits), bag.mode());
  layer->load_float(bag.weight.data(), observer);
  return layer;
}

Tensor QuantizedEmbeddingBag::forward_all(std::span<const Tensor> inputs) {
  const auto [index, offsets, scales] = nn::BagInputs::from(type(), inputs);
  if (scales.defined()) {
    check<ValueError>(mode_ == BagMode::sum, type(), ": per_sample_weights are for mode sum, not ",
                      thimble::name(mode_));
    check<ShapeError>(scales.shape() == index.shape(), type(), ": per_sample_weights ", scales.shape(),
                      " must have index's shape ", index.shape());
    check<DTypeError>(scales.dtype() == DType::float32, type(), ": per_sample_weights are ", scales.dtype(),
                      ", expected float32");
  }
  const kernels::Bags bags =
      bags_of(index.data(), offsets.defined() ? offsets.data() : NDArray(), config().num_embeddings, padding(), type());
  NDArray out({bags.count, config().embedding_dim});
  read_bags(table().rows, bags, contiguous_if_defined(scales), mode_, out);
  return out;
}

std::unique_ptr<nn::InferenceStep> QuantizedEmbeddingBag::inference_step(std::span<const nn::ValueInfo> inputs) const {
  return nn::embedding_bag_step(
      inputs, config().embedding_dim, mode_,
      [table = table(), mode = mode_, count = config().num_embeddings, padding = padding()](
          const NDArray& index, const NDArray& offsets, const NDArray& scales, NDArray& out) {
        read_bags(table.rows, bags_of(index, offsets, count, padding, "QuantizedEmbeddingBag"), scales, mode, out);
      });
}

Attributes QuantizedEmbeddingBag::attributes() const {
  Attributes all = IntegerTable::attributes();
  all.set("mode", std::string(thimble::name(mode_)));
  return all;
}

}  // namespace thimble::quant
