// thimble export
#include <filesystem>

#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/exported_arrays.h"
#include "apps/numbers.h"
#include <thimble/core/text.h>
#include <thimble/core/text_table.h>
#include <thimble/serialization/npz.h>
#include <thimble/serialization/safetensors.h>

namespace thimble::apps {

namespace {

struct ExportArguments {
  Common common;
  std::string model, format = "npz", out;
};

void run(const ExportArguments& o) {
  o.common.apply({o.model}, o.out);
  const LoadedModel model = load(o.model);
  const auto arrays = exported_arrays(model, load_safetensors(o.model).metadata.at("graph"));
  save_npz(o.out, arrays);

  detail::TextTable table({"array", "dtype", "shape"});
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [name, array] : arrays) {
    table.add({name, std::string(thimble::name(array.dtype())), str(array.shape())});
    list.push_back({{"name", name}, {"dtype", thimble::name(array.dtype())}, {"shape", array.shape().to_vector()}});
  }
  o.common.out() << table.str() << "saved " << detail::printable(o.out) << ": " << arrays.size() << " arrays\n";
  o.common.write_json({{"out", o.out}, {"arrays", list}});
}

}  // namespace

void add_export(CLI::App& app) {
  auto o = std::make_shared<ExportArguments>();
  CLI::App* command =
      app.add_subcommand("export", "A model's weights, biases, scales and zero points as arrays for other programs");
  command->footer(
      "Examples:\n"
      "  thimble export mlp.int8.safetensors --format npz --out mlp.npz");
  o->common.add_to(*command);
  command->add_option("model", o->model, "Checkpoint")->required()->type_name("MODEL");
  command->add_option("--format", o->format, "npz: NumPy arrays, numpy.load(FILE) in Python")
      ->capture_default_str()
      ->check(CLI::IsMember({"npz"}));
  command->add_option("--out", o->out, "File to write")->required()->type_name("FILE");
  command->callback([o] { run(*o); });
}

}  // namespace thimble::apps
