// The weights of integer products as layers keep them: integers of 2 to 8 bits and their scales.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>
#include <thimble/nn/inference/shared_weights.h>
#include <thimble/quant/layers/product_weights.h>

namespace thimble::quant {

/// Signed integers whose zero point is 0, with a scale for each output channel or each group of consecutive elements of
/// one. Weights of fewer than 8 bits multiply as 2^shift() times themselves, as if they had 8.
class THIMBLE_API IntegerWeights {
 public:
  /// Bits and groups.
  struct Format {
    int bits = 8;
    int64_t group_size = 0;  ///< 0: a scale for each output channel; else the last group may be smaller

    /// As "weight_bits", "weight_group_size".
    void to_attributes(Attributes& attributes) const;
    /// Throws FormatError.
    static Format from_attributes(const Attributes& attributes);
  };

  /// shape is [out, ...]. Throws ValueError that begins with `type` for sizes that are out of range, more products a
  /// sum than the kernels can add, bits beyond 2 to 8, or groups of a negative size.
  IntegerWeights(std::string type, const Shape& shape, const Format& format);

  const Shape& shape() const { return shape_; }
  const Format& format() const { return format_; }
  /// Products in a sum.
  int64_t k() const { return k_; }
  int64_t groups() const { return quant::group_count(k_, format_.group_size); }
  /// Where group g of a sum's products ends.
  int64_t group_end(int64_t g) const { return g == groups() - 1 ? k_ : (g + 1) * format_.group_size; }
  int shift() const { return 8 - format_.bits; }

  /// The layer's state: int8 [out, ...] or, of fewer than 8 bits, uint8 [out, bytes], each row's w + 2^(bits - 1)
  /// packed (see kernels::pack_bits); float32 [out], with groups [out, groups]. To be registered by the layer.
  Tensor values() const { return values_; }
  Tensor scale() const { return scale_; }

  /// int8 [out, ...], whatever their number of bits.
  NDArray unpacked() const;
  /// What they stand for, float32 [out, ...].
  NDArray dequantized() const;
  /// What kernels multiply with: unpacked() * 2^shift(), int8 [out, ...].
  NDArray shifted() const;
  /// pack(shifted()), a T, which all that use these weights share, layers whose weights are the same memory among them.
  /// `layout` is what it depends on besides weights and format; no two types have the same.
  template <typename T, typename Pack>
  std::shared_ptr<const T> packed(const nn::SharedWeights::Key& layout, Pack&& pack) const {
    const std::shared_ptr<nn::SharedWeights> of_all = of_memory_->of(values_.data());
    const uint64_t version = of_all ? values_.data().changed_at() : values_.version();
    return (of_all ? *of_all : *own_).template get<T>(key_of(version, layout), [&] { return pack(to_pack()); });
  }
  /// A sum's unit for each channel and group, with an input of scale 1: scale / 2^shift(), [groups][out]. Throws
  /// ValueError for scales that are not positive and finite, or whose unit is below the smallest normal float.
  std::vector<float> steps() const;

  /// What load_state() takes.
  struct State {
    NDArray values, scale;
  };
  /// The same with a scale for each channel, where one serves all, and scales that are too small for steps() raised.
  /// Throws ValueError for parameters that this format cannot have.
  QParams with_scales(const QParams& qparams) const;
  /// Throws ValueError for weights that are not finite, and as with_scales().
  State quantize(const NDArray& weight, const QParams& qparams) const;

 private:
  bool has_packed_bits() const { return format_.bits < 8; }
  NDArray to_pack() const;  // shifted(), to be let go of soon
  NDArray with_packed_bits(const NDArray& weight) const;
  nn::SharedWeights::Key key_of(uint64_t version, const nn::SharedWeights::Key& layout) const;

  std::string type_;
  Shape shape_;
  Format format_;
  int64_t k_;
  Tensor values_, scale_;
  std::shared_ptr<nn::WeightsOfMemory> of_memory_ = std::make_shared<nn::WeightsOfMemory>();
  std::shared_ptr<nn::SharedWeights> own_ = std::make_shared<nn::SharedWeights>();  // where those cannot be
};

}  // namespace thimble::quant
