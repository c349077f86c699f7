#include <algorithm>
#include <map>

#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/math.h>
#include <thimble/core/ops/recurrent_activations.h>

namespace thimble {

namespace {

constexpr std::string_view kDirections[] = {"forward", "reverse", "bidirectional"};

using ActivationFunction = Tensor (*)(const Tensor& x, double alpha, double beta);

const std::map<std::string, ActivationFunction>& activation_functions() {
  static const std::map<std::string, ActivationFunction> all{
      {"relu", [](const Tensor& x, double, double) { return relu(x); }},
      {"tanh", [](const Tensor& x, double, double) { return tanh(x); }},
      {"sigmoid", [](const Tensor& x, double, double) { return sigmoid(x); }},
      {"affine", [](const Tensor& x, double a, double b) { return x * a + b; }},
      {"leaky_relu", [](const Tensor& x, double a, double) { return leaky_relu(x, a); }},
      {"thresholded_relu", [](const Tensor& x, double a, double) { return threshold(x, a, 0); }},
      {"scaled_tanh", [](const Tensor& x, double a, double b) { return tanh(x * b) * a; }},
      {"hard_sigmoid", [](const Tensor& x, double a, double b) { return clamp(x * a + b, 0, 1); }},
      {"elu", [](const Tensor& x, double a, double) { return elu(x, a); }},
      {"softsign", [](const Tensor& x, double, double) { return softsign(x); }},
      {"softplus", [](const Tensor& x, double, double) { return softplus(x); }}};
  return all;
}

}  // namespace

Tensor apply_activation(const GateActivation& activation, const Tensor& x) {
  const auto it = activation_functions().find(activation.name);
  check<ValueError>(it != activation_functions().end(), "'", activation.name, "' is no activation of recurrent layers");
  return it->second(x, activation.alpha, activation.beta);
}

void activations_to_attributes(const std::vector<GateActivation>& activations, Attributes& attributes) {
  std::string names;
  std::vector<double> alphas, betas;
  for (const GateActivation& a : activations) {
    names += (names.empty() ? "" : ",") + a.name;
    alphas.push_back(a.alpha);
    betas.push_back(a.beta);
  }
  attributes.set("activations", names);
  attributes.set("alphas", alphas);
  attributes.set("betas", betas);
}

std::vector<GateActivation> activations_from_attributes(const Attributes& attributes) {
  const auto names = attributes.get<std::string>("activations");
  const auto alphas = attributes.get<std::vector<double>>("alphas"),
             betas = attributes.get<std::vector<double>>("betas");
  std::vector<GateActivation> activations;
  for (size_t begin = 0; begin < names.size();) {
    const size_t end = std::min(names.find(',', begin), names.size()), i = activations.size();
    check<FormatError>(i < alphas.size() && i < betas.size(),
                       "an activation of a recurrent layer has no alpha or beta");
    activations.push_back({names.substr(begin, end - begin), alphas[i], betas[i]});
    check<FormatError>(activation_functions().contains(activations.back().name), "'", activations.back().name,
                       "' is no activation of recurrent layers");
    begin = end + 1;
  }
  return activations;
}

void RecurrentOptions::to_attributes(Attributes& a) const {
  a.set("direction", std::string(name(direction)));
  a.set("clip", clip);
  a.set("reset_after", reset_after);
  a.set("couples_gates", couples_gates);
  activations_to_attributes(activations, a);
}

RecurrentOptions RecurrentOptions::from_attributes(const Attributes& a) {
  return {.direction = direction_from_name(a.get<std::string>("direction")),
          .activations = activations_from_attributes(a),
          .clip = a.get<double>("clip"),
          .reset_after = a.get<bool>("reset_after"),
          .couples_gates = a.get<bool>("couples_gates")};
}

std::string_view name(Direction direction) { return kDirections[static_cast<size_t>(direction)]; }

Direction direction_from_name(std::string_view name) {
  const auto at = std::ranges::find(kDirections, name);
  check<FormatError>(at != std::end(kDirections), "'", name, "' is no direction: expected forward, reverse or ",
                     "bidirectional");
  return static_cast<Direction>(at - std::begin(kDirections));
}

}  // namespace thimble
