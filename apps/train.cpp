// thimble train
#include <nlohmann/json.hpp>

#include "apps/augmentation.h"
#include "apps/command.h"
#include "apps/datasets.h"
#include "apps/models.h"
#include "apps/notes.h"
#include "apps/numbers.h"
#include "apps/state_keeper.h"
#include "apps/training_history.h"
#include "apps/training_run.h"
#include <thimble/core/random.h>
#include <thimble/core/text.h>
#include <thimble/nn/data/dataloader.h>
#include <thimble/nn/data/image_dataset.h>
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
  int64_t vocabulary = 5000;
  std::string augment;
  bool normalize = false;
  std::optional<int64_t> image_size;
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

// Throws ValueError for a model of images and a dataset of texts, or the other way round.
Preparation preparation_for(const TrainArguments& o) {
  const bool are_texts = examples_of(o.dataset) == "texts";
  check<ValueError>(takes_texts(o.model) == are_texts, "--model ", o.model.name, " takes ",
                    are_texts ? "images" : "texts", ", and --dataset ", o.dataset, " has ", examples_of(o.dataset));
  if (are_texts) return {.vocabulary = vocabulary_of(o.dataset, o.data, o.vocabulary)};
  check<ValueError>(!o.image_size || o.dataset == "folder", "--image-size is for --dataset folder, not ", o.dataset);
  Preparation preparation{.images = preprocessing_for(o.model, o.dataset, channels_of(o.dataset, o.data))};
  if (o.image_size) preparation.image_size = Pair(*o.image_size);
  return preparation;
}

// With the mean and deviation of the training pictures, if they are to be normalized.
data::Preprocessing normalized(const TrainArguments& o, const NamedDataset& train, data::Preprocessing images) {
  if (!o.normalize) return images;
  const auto pictures = std::dynamic_pointer_cast<const data::ImageDataset>(train.examples);
  check<ValueError>(pictures != nullptr, "--normalize is for pictures, and --dataset ", o.dataset, " has ",
                    examples_of(o.dataset));
  const auto [mean, std] = pictures->channel_moments();
  if (mean.size() == 1)
    images.mean = mean[0], images.std = std[0];
  else
    images.channel_mean = mean, images.channel_std = std;
  return images;
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
  if (takes_texts(o.model)) settings.set("--vocabulary", o.vocabulary);
  if (o.weight_decay) settings.set("--weight-decay", *o.weight_decay);
  if (!o.augment.empty()) settings.set("--augment", o.augment);
  if (o.image_size) settings.set("--image-size", *o.image_size);
  if (o.normalize) settings.set("--normalize", true);
  return settings;
}

std::string line_of(const EpochRecord& record, const std::string& called) {
  return str("train loss ", fixed(record["train_loss"], 4), ", test accuracy ", fixed(100 * record["test_accuracy"], 2),
             " %, ", fixed(record["seconds"], 1), " s, ",
             with_commas(static_cast<int64_t>(record["examples_per_second"])), ' ', called, "/s");
}

void run(const TrainArguments& o) {
  o.common.apply({}, o.out, o.states.save);
  const Augmentation augmentation(o.augment);
  Preparation preparation = preparation_for(o);
  NamedDataset train = open_dataset(o.dataset, o.data, data::Split::train, preparation);
  preparation.classes = train.class_names;
  preparation.arrays = train.arrays;
  if (o.normalize) {
    preparation.images = normalized(o, train, preparation.images);
    train = prepared(train, preparation);
  }
  const auto augmented = augmentation.of(train.examples);
  const NamedDataset test = open_dataset(o.dataset, o.data, data::Split::test, preparation);
  check<ShapeError>(train.input_shape == test.input_shape, "training examples are ", train.input_shape,
                    ", and those of the test set ", test.input_shape);
  check<ValueError>(test.classes <= train.classes, "the test set has class ", test.classes - 1,
                    ", and the training set ", train.classes, " classes, from 0 on");
  manual_seed(o.seed);
  const auto model = make_model(o.model, train, preparation);
  const auto optimizer = make_optimizer(o, model->parameters());
  Notes notes{.model = o.model.name,
              .dataset = o.dataset,
              .train_data = train.checksum,
              .test_data = test.checksum,
              .precision = o.precision,
              .augment = o.augment,
              .parameters = model->num_parameters(),
              .preparation = preparation};
  if (!preparation.vocabulary) notes.input_shape = train.input_shape;
  std::ostream& out = o.common.out();
  const std::string called = examples_of(o.dataset);
  // From the first line on, a signal ends the run with a word on what was saved.
  StateKeeper states(o.states, settings_of(o, *train.examples, *test.examples), *model, *optimizer, out);
  out << o.model.name << " on " << o.dataset << ": " << with_commas(notes.parameters) << " parameters, "
      << with_commas(train.examples->size()) << " training " << called
      << (o.precision == kFloat32 ? "" : ", products in " + o.precision) << '\n';
  data::DataLoader loader(augmented, {.batch_size = o.batch_size,
                                      .shuffle = true,
                                      .seed = o.seed,
                                      .limit = images_an_epoch(*model, train.examples->size(), o.batch_size, out),
                                      .workers = augmentation.workers(),
                                      .transform = augmentation.of_batches(train.classes)});
  EpochBar bar([&](const EpochSoFar& epoch) { return figures_of(epoch, called); });
  EpochLine line(out, [&](const EpochRecord& record) { return line_of(record, called); });
  FitOptions options{.epochs = o.epochs,
                     .evaluate = {{"test", test.examples.get()}},
                     .schedule = make_schedule(o, o.epochs * loader.size()),
                     .precision = o.precision == kFloat32 ? DType::float32 : DType::bfloat16,
                     .callbacks = {&bar, &states, &line},
                     .start = states.resume(o.epochs, loader.size())};
  options.start.lr = o.lr;
  const std::vector<EpochRecord> epochs = fit(*model, *optimizer, loader, classification_in_batches(), options);
  const nn::Graph graph = nn::trace(model->eval(), train.examples->example());
  Attributes attributes = notes.to_attributes();
  attributes.set_all("", history_notes(kHistory, epochs));
  save_trained(graph, o.out, attributes, states.advice());
  out << "saved " << detail::printable(o.out) << '\n';
  o.common.write_json({{"model", o.model.name},
                       {"parameters", notes.parameters},
                       {"precision", o.precision},
                       {"epochs", epochs_json(epochs)},
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
      "  thimble train --dataset cifar10 --model resnet9 --epochs 20 --batch-size 128 --augment crop:4,flip "
      "--normalize "
      "--out cifar10.safetensors\n"
      "  thimble train --dataset sst2 --model bow --hidden 256 --layers 3 --out bow.safetensors\n"
      "  thimble train --dataset sst2 --model transformer --out transformer.safetensors\n"
      "  thimble train --dataset folder --data pets --image-size 32 --model resnet9 --augment flip --out "
      "pets.safetensors\n"
      "  thimble train --dataset npz --data flowers.npz --model mlp --out flowers.safetensors\n"
      "  thimble train --model cnn --save-state states --out cnn.safetensors");
  o->common.add_to(*command);
  command->add_option("--dataset", o->dataset, "Dataset")->capture_default_str()->check(CLI::IsMember(dataset_names()));
  command
      ->add_option("--data", o->data,
                   "Folder of the dataset's files [data/ and its name; Fashion-MNIST: where Debian's package puts it]. "
                   "idx: with files as MNIST's, of any classes, or how their names begin, data/emnist-letters. "
                   "npz: with train.npz and test.npz, arrays x and y, or a file with x_train, y_train, x_test, y_test. "
                   "folder: with train/CLASS/*.png and test/CLASS/*.jpg")
      ->type_name("DIR|FILE");
  command
      ->add_option("--image-size", o->image_size,
                   "folder: make all pictures N x N; without it they must be of one size")
      ->type_name("N")
      ->check(CLI::Range(1, 4096));
  command->add_option("--model", o->model.name, "Model")->capture_default_str()->check(CLI::IsMember(model_names()));
  command->add_option("--hidden", o->model.hidden, "Width of the hidden layers; not of cnn and resnet9")
      ->capture_default_str()
      ->check(CLI::Range(1, 65536));
  command->add_option("--layers", o->model.layers, "Number of hidden layers; not of cnn and resnet9")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000));
  command->add_option("--crop", o->model.crop, "Use the central N x N pixels; 0 for all")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
  Augmentation::add_to(*command, o->augment);
  command->add_flag(
      "--normalize", o->normalize,
      "Pictures: subtract the mean of the training pictures and divide by their standard deviation, of "
      "each channel by itself, over whole pictures though --crop cuts them; the checkpoint remembers both");
  command->add_option("--vocabulary", o->vocabulary, "Texts: how many words are known, the most frequent ones")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000000));
  command->add_option("--epochs", o->epochs, "Passes over the training set")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000000));
  command->add_option("--batch-size", o->batch_size, "Examples a step")
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
