#include "apps/model_row.h"

#include <cctype>
#include <filesystem>

#include <nlohmann/json.hpp>

namespace thimble::apps {

namespace {

std::string label_of(const LoadedModel& loaded) {
  std::string method = method_of(loaded);
  if (method == "qat")
    method = "QAT";
  else if (!method.empty())
    method[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(method[0])));
  return method + apps::fewer_bits(loaded.graph);
}

void set_latency(nlohmann::json& json, const std::string& name, const std::optional<Latency>& latency) {
  json[name + "_us"] = latency ? nlohmann::json(latency->mean_us) : nlohmann::json();
  json[name + "_std_us"] = latency ? std_json(*latency) : nlohmann::json();
}

}  // namespace

ModelRow row_of(const LoadedModel& model) {
  return {.model = model.path,
          .label = label_of(model),
          .dtype = dtype_of(model.graph),
          .method = method_of(model),
          .size_bytes = std::filesystem::file_size(model.path),
          .parameters = parameters_of(model)};
}

nlohmann::json to_json(const ModelRow& row) {
  nlohmann::json json{{"model", row.model},
                      {"label", row.label},
                      {"dtype", row.dtype},
                      {"method", row.method},
                      {"size_bytes", row.size_bytes},
                      {"parameters", row.parameters},
                      {"accuracy", row.accuracy ? nlohmann::json(*row.accuracy) : nlohmann::json()}};
  set_latency(json, "latency_b1", row.b1);
  set_latency(json, "latency_b64", row.b64);
  return json;
}

}  // namespace thimble::apps
