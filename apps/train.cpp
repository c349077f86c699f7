// thimble train
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/datasets.h"
#include "apps/models.h"
#include "apps/notes.h"
#include "apps/numbers.h"
#include "apps/state_keeper.h"
#include "apps/training_progress.h"
#include "apps/training_run.h"
#include <thimble/core/random.h>
#include <thimble/core/text.h>
#include <thimble/nn/data/dataloader.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/training/optim/optimizer.h>
#include <thimble/nn/training/optim/schedule.h>

namespace thimble::apps {

namespace {

struct TrainArguments {
  Common common;
  ModelOptions model;
  std::string dataset = "mnist", data, out;
  std::string optimizer = "adam", schedule = "cosine", precision = kFloat32;
  int64_t epochs = 2, batch_size = 64;
  uint64_t seed = 1;
  double lr = 1e-3, momentum = 0.9;
  std::optional<double> weight_decay;  // none: the optimizer's default
  StateOptions states;
};

std::unique_ptr<optim::Optimizer> make_optimizer(const TrainArguments& o, std::vector<Tensor> parameters) {
  const optim::AdamOptions adam{.lr = o.lr, .weight_decay = o.weight_decay.value_or(0)};
  if (o.optimizer == "adam") return std::make_unique<optim::Adam>(std::move(parameters), adam);
  if (o.optimizer == "adamw")
    return std::make_unique<optim::AdamW>(
        std::move(parameters), optim::AdamWOptions{.lr = o.lr, .weight_decay = o.weight_decay.value_or(1e-2)});
  return std::make_unique<optim::SGD>(
      std::move(parameters),
      optim::SGDOptions{.lr = o.lr, .momentum = o.momentum, .weight_decay = o.weight_decay.value_or(0)});
}

optim::Schedule make_schedule(const TrainArguments& o, int64_t steps) {
  return o.schedule == "cosine" ? optim::cosine(std::max<int64_t>(steps, 1)) : optim::constant();
}

// What the result depends on: a state of a run with others is not one of this run.
Attributes settings_of(const TrainArguments& o, const data::Dataset& train, const data::Dataset& test) {
  if (!o.states.in_use()) return {};
  Attributes settings{{kSubcommand, "train"},
                      {"--dataset", o.dataset},
                      {"training data", fingerprint(train)},
                      {"test data", fingerprint(test)},
                      {"--model", o.model.name},
                      {"--hidden", int64_t{o.model.hidden}},
                      {"--layers", int64_t{o.model.layers}},
                      {"--crop", int64_t{o.model.crop}},
                      {"--epochs", o.epochs},
                      {"--batch-size", o.batch_size},
                      {"--lr", o.lr},
                      {"--schedule", o.schedule},
                      {"--optimizer", o.optimizer},
                      {"--momentum", o.momentum},
                      {"--seed", std::to_string(o.seed)},
                      {kPrecision, o.precision}};
  if (o.weight_decay) settings.set("--weight-decay", *o.weight_decay);
  return settings;
}

nlohmann::json to_json(const std::vector<EpochRecord>& records) {
  nlohmann::json epochs = nlohmann::json::array();
  for (const EpochRecord& record : records) {
    nlohmann::json& epoch = epochs.emplace_back(nlohmann::json{{"epoch", epochs.size() + 1}});
    for (const EpochColumn& column : kEpochColumns) epoch[column.name] = record.*column.member;
  }
  return epochs;
}

void print_epoch(std::ostream& out, const std::string& title, const EpochRecord& record) {
  out << title << ": train loss " << fixed(record.train_loss, 4) << ", test accuracy "
      << fixed(100 * record.test_accuracy, 2) << " %, " << fixed(record.seconds, 1) << " s, "
      << with_commas(static_cast<int64_t>(record.images_per_second)) << " images/s\n"
      << std::flush;
}

void run(const TrainArguments& o) {
  o.common.apply({}, o.out, o.states.save);
  const data::Preprocessing preprocessing = preprocessing_for(o.model);
  const auto train = open_dataset(o.dataset, o.data, data::Split::train, preprocessing);
  const auto test = open_dataset(o.dataset, o.data, data::Split::test, preprocessing);
  manual_seed(o.seed);
  const auto model = make_model(o.model, train->image_shape());
  const auto optimizer = make_optimizer(o, model->parameters());
  const Notes notes{.model = o.model.name,
                    .dataset = o.dataset,
                    .train_data = checksum_text(*train),
                    .test_data = checksum_text(*test),
                    .precision = o.precision,
                    .parameters = model->num_parameters(),
                    .preprocessing = preprocessing,
                    .input_shape = train->image_shape()};
  std::ostream& out = o.common.out();
  // From the first line on, a signal ends the run with a word on what was saved.
  StateKeeper states(o.states, settings_of(o, *train, *test), *model, *optimizer, out);
  out << o.model.name << " on " << o.dataset << ": " << with_commas(notes.parameters) << " parameters, "
      << with_commas(train->size()) << " training images"
      << (o.precision == kFloat32 ? "" : ", products in " + o.precision) << '\n';
  data::DataLoader loader(*train, {.batch_size = o.batch_size,
                                   .shuffle = true,
                                   .seed = o.seed,
                                   .limit = images_an_epoch(*model, train->size(), o.batch_size, out)});
  const optim::Schedule schedule = make_schedule(o, o.epochs * loader.size());
  const RunHooks hooks{
      .before_step = [&](int64_t step) { optimizer->set_lr(o.lr * schedule(step)); },
      .after_epoch = [&](const std::string& title, const EpochRecord& record) { print_epoch(out, title, record); },
      .precision = o.precision == kFloat32 ? DType::float32 : DType::bfloat16};
  TrainingProgress progress = states.resume(o.epochs, loader.size());
  train_epochs(*model, *optimizer, loader, *test, o.epochs, states, hooks, progress);
  const nn::Graph graph = nn::trace(model->eval(), train->example());
  save_trained(graph, o.out, notes.to_attributes(), states.advice());
  out << "saved " << detail::printable(o.out) << '\n';
  o.common.write_json({{"model", o.model.name},
                       {"parameters", notes.parameters},
                       {"precision", o.precision},
                       {"epochs", to_json(progress.epochs)},
                       {"out", o.out}});
}

}  // namespace

void add_train(CLI::App& app) {
  auto o = std::make_shared<TrainArguments>();
  CLI::App* command = app.add_subcommand("train", "Train a model from scratch, evaluate it after each epoch, save it");
  command->footer(
      "Examples:\n"
      "  thimble train --dataset mnist --model mlp --hidden 1024 --layers 2 --crop 20 --out mlp.safetensors\n"
      "  thimble train --dataset fashion-mnist --model resnet9 --epochs 5 --out resnet9.safetensors\n"
      "  thimble train --model cnn --save-state states --out cnn.safetensors");
  o->common.add_to(*command);
  command->add_option("--dataset", o->dataset, "Dataset")->capture_default_str()->check(CLI::IsMember(dataset_names()));
  command
      ->add_option("--data", o->data,
                   "Folder of the dataset's files [data/mnist, or where Debian's package puts Fashion-MNIST]")
      ->type_name("DIR");
  command->add_option("--model", o->model.name, "Model")->capture_default_str()->check(CLI::IsMember(model_names()));
  command->add_option("--hidden", o->model.hidden, "mlp: width of the hidden layers")
      ->capture_default_str()
      ->check(CLI::Range(1, 65536));
  command->add_option("--layers", o->model.layers, "mlp: number of hidden layers")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000));
  command->add_option("--crop", o->model.crop, "Use the central N x N pixels; 0 for all")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
  command->add_option("--epochs", o->epochs, "Passes over the training images")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000000));
  command->add_option("--batch-size", o->batch_size, "Images a step")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  command->add_option("--lr", o->lr, "Learning rate")->capture_default_str()->check(number_from(0, 1e6));
  command
      ->add_option("--schedule", o->schedule,
                   "How the learning rate goes on from --lr: to 0 along half a cosine, or not at all")
      ->capture_default_str()
      ->check(CLI::IsMember({"cosine", "constant"}));
  command->add_option("--optimizer", o->optimizer, "Optimizer")
      ->capture_default_str()
      ->check(CLI::IsMember({"adam", "adamw", "sgd"}));
  command->add_option("--momentum", o->momentum, "Of sgd")->capture_default_str()->check(number_from(0, 1));
  command->add_option("--weight-decay", o->weight_decay, "Weight decay [0; adamw: 0.01]")->check(number_from(0, 1e6));
  command
      ->add_option("--precision", o->precision,
                   "What matrix products and convolutions are computed in, and activations kept in, during steps; "
                   "parameters, sums, normalization and losses stay float32, and so does evaluation")
      ->capture_default_str()
      ->check(CLI::IsMember({kFloat32, "bf16"}));
  command->add_option("--seed", o->seed, "Of initialization and order; the same seed gives the same bits")
      ->capture_default_str()
      ->check(uint64_number());
  command->add_option("--out", o->out, "Checkpoint to write")->required()->type_name("FILE");
  o->states.add_to(*command);
  command->callback([o] { run(*o); });
}

}  // namespace thimble::apps
