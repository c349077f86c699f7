// thimble eval
#include <cmath>

#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/images.h"
#include "apps/numbers.h"
#include "apps/warning.h"
#include <thimble/core/text.h>
#include <thimble/nn/training/evaluate.h>

namespace thimble::apps {

namespace {

struct EvalArguments {
  Common common;
  std::string model;
  DataOptions data;
  int64_t batch_size = 256;
};

void run(const EvalArguments& o) {
  o.common.apply({o.model});
  LoadedModel loaded = load(o.model);
  const Images images(loaded, o.data);
  const auto test = images.open(data::Split::test);
  const Evaluation result = evaluate(loaded.graph, *test, o.batch_size);
  o.common.out() << detail::printable(o.model) << " on " << images.dataset() << ": accuracy "
                 << fixed(100 * result.accuracy, 2) << " %, loss " << fixed(result.loss, 4) << ", "
                 << with_commas(result.images) << ' ' << images.called() << '\n';
  if (!std::isfinite(result.loss))
    warn(
        "the loss is no finite number: the model has diverged, or its file is damaged, which thimble inspect --verify "
        "can tell");
  o.common.write_json({{"accuracy", result.accuracy}, {"loss", result.loss}, {"images", result.images}});
}

}  // namespace

void add_eval(CLI::App& app) {
  auto o = std::make_shared<EvalArguments>();
  CLI::App* command = app.add_subcommand("eval", "Accuracy and loss of a model on a test set");
  command->footer(
      "Examples:\n"
      "  thimble eval mlp.safetensors\n"
      "  thimble eval mlp.safetensors --data data/mnist --batch-size 1000");
  o->common.add_to(*command);
  command->add_option("model", o->model, "Checkpoint")->required()->type_name("MODEL");
  o->data.add_to(*command);
  command->add_option("--batch-size", o->batch_size, "Images at a time")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  command->callback([o] { run(*o); });
}

}  // namespace thimble::apps
