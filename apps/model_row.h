// A model in a line: what it is, how large, how good, how fast.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "apps/latency.h"
#include "apps/loaded_model.h"

namespace thimble::apps {

struct ModelRow {
  std::string model;          ///< its file
  std::string label;          ///< "Static, 4-bit weights"
  std::string dtype, method;  ///< see dtype_of(), method_of()
  uintmax_t size_bytes = 0;
  int64_t parameters = 0;
  std::optional<double> accuracy = {};       ///< none: `no_accuracy` says why
  std::string no_accuracy = {};              ///< and else is empty
  std::optional<Latency> b1 = {}, b64 = {};  ///< of a batch of one and of 64; none if it was not measured
};

/// All but accuracy and latencies.
ModelRow row_of(const LoadedModel& model);

/// {model, label, dtype, method, size_bytes, parameters, accuracy, latency_b1_us, latency_b1_std_us, latency_b64_us,
/// latency_b64_std_us}, null for what there is none of.
nlohmann::json to_json(const ModelRow& row);

}  // namespace thimble::apps
