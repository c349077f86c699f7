// All that a report says of one model.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "apps/images.h"
#include "apps/layer_sensitivity.h"
#include "apps/loaded_model.h"
#include "apps/model_inputs.h"

namespace thimble::apps {

struct ReportOptions {
  DataOptions data;
  ShapeOption shapes;
  int runs = 3;          ///< timed ones; 0: nothing is timed
  int64_t images = -1;   ///< of the test set; -1: all
  int64_t worst = 24;    ///< examples that are shown
  int64_t spread = 256;  ///< test examples whose activations are counted
  bool sensitivity = false;
  LayerSensitivityOptions layers = {};
};

/// Called with what is measured next.
using OnSection = std::function<void(const std::string&)>;

/// How often on_section is called.
inline constexpr int64_t kSections = 6;

/// The keys are in docs/apps.md. `reference` is the float model that activations of a quantized one are compared with;
/// null: none. A dataset that cannot be opened is an error if an option names it or its folder; else the report says
/// why there is no accuracy. Throws what loading, measuring and the dataset throw.
nlohmann::json model_report(LoadedModel& loaded, const LoadedModel* reference, const ReportOptions& options,
                            const OnSection& on_section);

/// The first float model of which `quantized` may be a form: made with the same inputs and as many parameters, and
/// whose layers go by the same names. Null if there is none, for float models, and for those whose values were
/// equalized, which are not their float model's.
const LoadedModel* reference_of(const LoadedModel& quantized, const std::vector<LoadedModel>& models);

}  // namespace thimble::apps
