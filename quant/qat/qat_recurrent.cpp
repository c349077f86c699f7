#include <thimble/quant/layers/recurrent_rows.h>
#include <thimble/quant/qat/qat_recurrent.h>

namespace thimble::quant {

namespace {

constexpr const char* kWeightPart = "weight_quantization_";

template <typename Layer>
std::shared_ptr<nn::Module> qat_recurrent_from(const Attributes& a) {
  const Attributes own = a.part(kWeightPart);
  auto layer =
      std::make_shared<QATRecurrentOf<Layer>>(a, QuantizationSpec::from_attributes(own), own.get<bool>("learned"));
  layer->for_each_weight_fake_quant([&](FakeQuantize& fake) {
    fake.set_observing(own.get<bool>("observing"));
    fake.set_quantizing(own.get<bool>("quantizing"));
  });
  return layer;
}

const nn::LayerRegistration qat_recurrent_registrations[] = {
    {"QATLSTM", qat_recurrent_from<nn::LSTM>},
    {"QATGRU", qat_recurrent_from<nn::GRU>},
    {"QATRNN", qat_recurrent_from<nn::RNN>},
};

template <typename Layer>
std::shared_ptr<nn::Module> trained_layer(const Layer& layer, const QuantizationSpec& weight, bool learned) {
  auto made = std::make_shared<QATRecurrentOf<Layer>>(layer.attributes(), weight, learned);
  for (int64_t l = 0; l < layer.options().num_layers; ++l)
    for (int64_t d = 0; d < layer.num_directions(); ++d) {
      const auto &from = layer.weights(l, d == 1), &to = made->weights(l, d == 1);
      for (Tensor nn::RecurrentLayer::Weights::*which :
           {&nn::RecurrentLayer::Weights::ih, &nn::RecurrentLayer::Weights::hh, &nn::RecurrentLayer::Weights::bias_ih,
            &nn::RecurrentLayer::Weights::bias_hh}) {
        if (!(from.*which).defined()) continue;
        Tensor parameter = to.*which;
        parameter.set_data((from.*which).data().lazy_clone());
        parameter.set_requires_grad((from.*which).requires_grad());
      }
    }
  made->initialize();
  return made;
}

}  // namespace

void QATRecurrent::for_each_weight_fake_quant(const std::function<void(FakeQuantize&)>& f) {
  for (const auto& fake : weight_fake_quants_) f(*fake);
}

template <typename Layer>
QATRecurrentOf<Layer>::QATRecurrentOf(const Attributes& layer, const QuantizationSpec& spec, bool learned)
    : Layer(layer) {
  check<ValueError>(spec.group_size == 0, type(), ": weights in groups of ", spec.group_size,
                    "; only linear layers have them");
  const auto add = [&](const std::string& name, const Tensor& weight) {
    weight_fake_quants_.push_back(std::make_shared<FakeQuantize>(
        FakeQuantize::Options{.spec = spec, .learned = learned, .channels = spec.axis ? weight.shape(0) : int64_t{1}}));
    this->register_module(name + "_fake_quant", weight_fake_quants_.back());
  };
  for (int64_t l = 0; l < this->options().num_layers; ++l)
    for (int64_t d = 0; d < this->num_directions(); ++d) {
      const std::string place = str("_l", l, d == 1 ? "_reverse" : "");
      add("weight_ih" + place, this->weights(l, d == 1).ih);
      add("weight_hh" + place, this->weights(l, d == 1).hh);
    }
}

template <typename Layer>
void QATRecurrentOf<Layer>::initialize() {
  for (int64_t l = 0; l < this->options().num_layers; ++l)
    for (int64_t d = 0; d < this->num_directions(); ++d) {
      const auto& w = this->weights(l, d == 1);
      weight_fake_quants_[index_of(l, d == 1)]->initialize(w.ih.data());
      weight_fake_quants_[index_of(l, d == 1) + 1]->initialize(w.hh.data());
    }
}

template <typename Layer>
Attributes QATRecurrentOf<Layer>::attributes() const {
  Attributes a = Layer::attributes();
  a.set_all(kWeightPart, weight_fake_quants_[0]->attributes());
  return a;
}

template <typename Layer>
std::vector<QParams> QATRecurrentOf<Layer>::weight_qparams() const {
  std::vector<QParams> all;
  for (int64_t l = 0; l < this->options().num_layers; ++l)
    for (int64_t d = 0; d < this->num_directions(); ++d) {
      const auto& w = this->weights(l, d == 1);
      all.push_back(weight_fake_quants_[index_of(l, d == 1)]->qparams_for(w.ih.data()));
      all.push_back(weight_fake_quants_[index_of(l, d == 1) + 1]->qparams_for(w.hh.data()));
    }
  return all;
}

template <typename Layer>
typename QATRecurrentOf<Layer>::Weights QATRecurrentOf<Layer>::used_weights(int64_t layer, bool reverse) {
  Weights w = this->weights(layer, reverse);
  w.ih = (*weight_fake_quants_[index_of(layer, reverse)])(w.ih);
  w.hh = (*weight_fake_quants_[index_of(layer, reverse) + 1])(w.hh);
  return w;
}

template <typename Layer>
Tensor QATRecurrentOf<Layer>::handed_on(const Tensor& outputs) {
  const bool is_relu = this->attributes().template get<std::string>("nonlinearity", "tanh") == "relu";
  if (is_relu || !weight_fake_quants_[0]->quantizing()) return outputs;
  return fake_quantize(outputs,
                       QParams{QuantizationSpec::activation(kStateBits), {1 / kStateSteps}, {kStateZeroPoint}});
}

template class QATRecurrentOf<nn::LSTM>;
template class QATRecurrentOf<nn::GRU>;
template class QATRecurrentOf<nn::RNN>;

std::shared_ptr<nn::Module> qat_recurrent(const nn::RecurrentLayer& layer, const QuantizationSpec& weight,
                                          bool learned) {
  if (const auto* lstm = dynamic_cast<const nn::LSTM*>(&layer)) return trained_layer(*lstm, weight, learned);
  if (const auto* gru = dynamic_cast<const nn::GRU*>(&layer)) return trained_layer(*gru, weight, learned);
  return trained_layer(dynamic_cast<const nn::RNN&>(layer), weight, learned);
}

}  // namespace thimble::quant
