#include <bit>
#include <cmath>
#include <functional>
#include <string_view>

#include <thimble/core/text.h>
#include <thimble/serialization/attributes_json.h>
#include <thimble/serialization/format_metadata.h>
#include <thimble/serialization/reading.h>
#include <thimble/serialization/safetensors.h>
#include <thimble/serialization/training_state.h>

namespace thimble {

namespace {

constexpr const char *kStateKind = "training state", *kStateVersion = "1.0";
constexpr std::string_view kModel = "model.", kOptimizer = "optimizer.";

// Attributes have signed integers.
int64_t as_signed(uint64_t value) { return std::bit_cast<int64_t>(value); }
uint64_t as_unsigned(int64_t value) { return std::bit_cast<uint64_t>(value); }

Attributes run_attributes(const TrainingState& state) {
  return {{"lr", state.lr},
          {"generator_key", as_signed(state.generator.key)},
          {"generator_position", as_signed(state.generator.position)}};
}

void add(NamedArrays& all, std::string_view prefix, const NamedArrays& arrays) {
  for (const auto& [name, array] : arrays) all.emplace_back(str(prefix, name), array);
}

TrainingState state_of(const TensorFile& file) {
  detail::check_format(file, detail::kTrainingStateFormat, kStateKind);
  const auto attributes_of = [&](const char* key) {
    return detail::attributes_from_json(detail::parse_json(detail::metadata_of(file, key, kStateKind), key));
  };
  const Attributes run = attributes_of("run");
  TrainingState state{.model = {},
                      .optimizer = {},
                      .lr = run.get<double>("lr"),
                      .generator = {as_unsigned(run.get<int64_t>("generator_key")),
                                    as_unsigned(run.get<int64_t>("generator_position"))},
                      .progress = attributes_of("progress")};
  check<FormatError>(std::isfinite(state.lr) && state.lr >= 0, "its learning rate is ", state.lr,
                     ", expected a finite one that is not negative");
  for (const auto& [name, array] : file.tensors) {
    const bool of_model = name.starts_with(kModel);
    check<FormatError>(of_model || name.starts_with(kOptimizer), "tensor ", detail::quote(name),
                       " belongs neither to the model nor to the optimizer");
    if (of_model)
      state.model.emplace_back(name.substr(kModel.size()), array);
    else
      state.optimizer.emplace_back(name.substr(kOptimizer.size()), array);
  }
  return state;
}

}  // namespace

TrainingState capture(const nn::Module& model, const optim::Optimizer& optimizer, const Generator& generator,
                      const Attributes& progress) {
  TrainingState state{{}, {}, optimizer.lr(), generator.state(), progress};
  for (const auto& [name, tensor] : model.state()) state.model.emplace_back(name, tensor.data().clone());
  for (const auto& [name, array] : optimizer.state()) state.optimizer.emplace_back(name, array.clone());
  return state;
}

void restore(const TrainingState& state, nn::Module& model, optim::Optimizer& optimizer, Generator& generator) {
  NamedArrays own;  // copies, which the run may change
  for (const auto& [name, array] : state.model) own.emplace_back(name, array.clone());
  const std::function<void()> load_optimizer = optimizer.prepare_state(state.optimizer);
  const double lr = optimizer.lr();
  const bool has_groups = optimizer.lrs().size() > 1;  // whose rates are in the optimizer's state
  if (!has_groups) optimizer.set_lr(state.lr);
  try {
    model.load_state(own);  // all or nothing; what follows cannot fail
  } catch (...) {
    if (!has_groups) optimizer.set_lr(lr);
    throw;
  }
  load_optimizer();
  generator.set_state(state.generator);
}

void save_training_state(const std::filesystem::path& path, const TrainingState& state, std::string_view prefix) {
  NamedArrays arrays;
  add(arrays, kModel, state.model);
  add(arrays, kOptimizer, state.optimizer);
  save_safetensors(path,
                   {{"format", detail::kTrainingStateFormat},
                    {"format_version", kStateVersion},
                    {"run", detail::attributes_to_json(run_attributes(state))},
                    {"progress", detail::attributes_to_json(state.progress)}},
                   arrays, prefix);
}

TrainingState load_training_state(const std::filesystem::path& path) {
  const TensorFile file = load_verified_safetensors(path);
  return detail::reading(path, [&] { return state_of(file); });
}

}  // namespace thimble
