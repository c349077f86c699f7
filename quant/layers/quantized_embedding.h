// Embedding and EmbeddingBag whose tables are integers of few bits, each row with a scale of its own. Rows become
// floats as they are read: the table never does.
//
//   auto words = quant::QuantizedEmbedding::from_float(nn::Embedding(30000, 256), 8);
//   Tensor y = (*words)(tokens);                    // float32 [..., embedding_dim]
#pragma once

#include <optional>
#include <span>
#include <string>

#include <thimble/core/api.h>
#include <thimble/nn/layers/embedding.h>
#include <thimble/quant/qparams.h>

namespace thimble::quant {

/// What QuantizedEmbedding and QuantizedEmbeddingBag have in common: a table whose row r stands for
/// weight_scale[r] * (u - zero point of r), for unsigned integers u of 2 to 8 bits. Results are those of the float
/// layer with the table of these numbers, bit for bit, on every instruction set, thread count and batch split.
///
/// State, as other layers of integers have it, so that a table may be that of a linear layer, too:
/// - weight, uint8 [rows, ceil(dim * bits / 8)]: each row's integers bit-packed
/// (core/kernels/weight_only/bit_packing.h),
///   the last byte filled up with zeros. With `is_signed`, which is for 8 bits and the symmetric scheme, int8
///   [rows, dim], whose zero point is 0.
/// - weight_scale, float32 [rows].
/// - weight_zero_point, uint8 [rows]; only if the scheme is affine. Symmetric: 2^(bits - 1) everywhere.
class THIMBLE_API IntegerTable : public nn::Module {
 public:
  /// What the layer is made with.
  struct Config {
    int64_t num_embeddings = 0, embedding_dim = 0;
    int bits = 8;
    QScheme scheme = QScheme::affine;
    bool is_signed = false;
    std::optional<int64_t> padding_idx = {};  ///< counted from the beginning
  };

  Attributes attributes() const override;
  const Config& config() const { return config_; }

  /// Quantizes a float table [rows, dim] and loads it, with the parameters that the observer, "minmax" or "mse",
  /// chooses for each row. Throws ValueError for numbers that are not finite and an unknown observer.
  void load_float(const NDArray& table, const std::string& observer = "minmax");

  /// The integers [rows, dim]: int8 if is_signed, else uint8 u.
  NDArray unpacked() const;
  /// What they stand for, float32 [rows, dim].
  NDArray dequantized_weight() const;

 protected:
  /// Tensors are to come by load_state(), which throws ValueError for scales that are not positive and finite, zero
  /// points of too many bits and rows that are not filled up with zeros. Throws ValueError for sizes below 1, bits
  /// beyond 2 to 8, a padding_idx out of range, or is_signed where it may not be.
  IntegerTable(const char* type, const Config& config);

  void state_changed() override;
  int64_t padding() const { return config_.padding_idx.value_or(-1); }
  /// The table for the kernels, and the arrays that it points to.
  struct Table;
  /// Throws ValueError if there is none yet.
  Table table() const;

 private:
  const char* type_;
  Config config_;
  Tensor weight_, scale_, zero_point_;
  bool loaded_ = false;
};

/// nn::Embedding with a table of integers: index [...] (int64 or int32) -> float32 [..., embedding_dim].
class THIMBLE_API QuantizedEmbedding : public IntegerTable {
 public:
  using Config = IntegerTable::Config;

  /// As IntegerTable's.
  explicit QuantizedEmbedding(const Config& config);

  /// With a float layer's table, affine by row. Throws as load_float().
  static std::shared_ptr<QuantizedEmbedding> from_float(const nn::Embedding& embedding, int bits,
                                                        const std::string& observer = "minmax");

  Tensor forward(const Tensor& index) override;
  bool is_per_sample() const override { return true; }
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  std::string type() const override { return "QuantizedEmbedding"; }
};

/// nn::EmbeddingBag with a table of integers, called with the same inputs. per_sample_weights are float32.
class THIMBLE_API QuantizedEmbeddingBag : public IntegerTable {
 public:
  using Config = IntegerTable::Config;

  /// As IntegerTable's.
  QuantizedEmbeddingBag(const Config& config, BagMode mode);

  /// With a float layer's table, affine by row. Throws as load_float().
  static std::shared_ptr<QuantizedEmbeddingBag> from_float(const nn::EmbeddingBag& bag, int bits,
                                                           const std::string& observer = "minmax");

  Tensor forward_all(std::span<const Tensor> inputs) override;
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  std::string type() const override { return "QuantizedEmbeddingBag"; }
  Attributes attributes() const override;

  BagMode mode() const { return mode_; }

 private:
  BagMode mode_;
};

}  // namespace thimble::quant
