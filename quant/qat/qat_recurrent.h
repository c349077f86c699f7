// LSTM, GRU and RNN as they are trained for quantization: with fake-quantized weights.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/inference/inference.h>
#include <thimble/nn/layers/recurrent.h>
#include <thimble/quant/qat/fake_quantize.h>

namespace thimble::quant {

/// What QATLSTM, QATGRU and QATRNN have in common besides the float layer, whose parameters are trained. Their weights
/// are fake-quantized, and what a layer hands on to the next is rounded as the state of QuantizedRecurrent is, unless
/// it is one of relu. The rounding of h within a layer is left out.
class THIMBLE_API QATRecurrent {
 public:
  virtual ~QATRecurrent() = default;

  /// Of weight_ih and weight_hh of each layer and direction, one behind the other, as they are quantized.
  virtual std::vector<QParams> weight_qparams() const = 0;
  void for_each_weight_fake_quant(const std::function<void(FakeQuantize&)>& f);

 protected:
  std::vector<std::shared_ptr<FakeQuantize>> weight_fake_quants_;
};

/// `Layer` is nn::LSTM, nn::GRU or nn::RNN.
template <typename Layer>
class THIMBLE_API QATRecurrentOf : public Layer, public QATRecurrent {
 public:
  /// With attributes() of the float layer, its tensors not set yet.
  QATRecurrentOf(const Attributes& layer, const QuantizationSpec& weight, bool learned);

  /// Chooses the parameters for the weights.
  void initialize();
  /// None: weights are quantized anew at each call.
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo>) const override { return nullptr; }
  std::string type() const override { return "QAT" + Layer::type(); }
  Attributes attributes() const override;
  std::vector<QParams> weight_qparams() const override;

 protected:
  using Weights = nn::RecurrentLayer::Weights;
  Weights used_weights(int64_t layer, bool reverse) override;
  Tensor handed_on(const Tensor& outputs) override;

 private:
  size_t index_of(int64_t layer, bool reverse) const {
    return 2 * static_cast<size_t>(layer * this->num_directions() + (reverse ? 1 : 0));
  }
};

extern template class QATRecurrentOf<nn::LSTM>;
extern template class QATRecurrentOf<nn::GRU>;
extern template class QATRecurrentOf<nn::RNN>;

using QATLSTM = QATRecurrentOf<nn::LSTM>;
using QATGRU = QATRecurrentOf<nn::GRU>;
using QATRNN = QATRecurrentOf<nn::RNN>;

/// The layer as it is trained, with copies of its tensors. What is frozen stays frozen.
THIMBLE_API std::shared_ptr<nn::Module> qat_recurrent(const nn::RecurrentLayer& layer, const QuantizationSpec& weight,
                                                      bool learned);

}  // namespace thimble::quant
