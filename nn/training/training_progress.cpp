#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include <thimble/core/text.h>
#include <thimble/nn/training/training_progress.h>

namespace thimble {

namespace {

constexpr int64_t kMostCounted = int64_t{1} << 40;  // more than any run has, and rates of such fit int64_t

int64_t count_of(const Attributes& a, const std::string& name) {
  const auto value = a.get<int64_t>(name);
  check<FormatError>(value >= 0 && value <= kMostCounted, "training state: ", name, " is ", value);
  return value;
}

// Names in the order of the records: attributes are sorted.
std::vector<std::string> names_in(const Attributes& a, const std::string& key) {
  std::vector<std::string> names;
  for (size_t i = 0; a.contains(str(key, '.', i)); ++i) names.push_back(a.get<std::string>(str(key, '.', i)));
  return names;
}

void set_names(Attributes& a, const std::string& key, const std::vector<std::string>& names) {
  for (size_t i = 0; i < names.size(); ++i) a.set(str(key, '.', i), names[i]);
}

std::string key_of_epochs(const std::string& name) { return "epochs." + name; }
std::string key_of_sum(const std::string& name) { return "sums." + name; }
std::string key_of_examples(const std::string& name) { return "examples." + name; }

// Of all records, in their order.
std::vector<std::string> names_of(const std::vector<EpochRecord>& epochs) {
  std::vector<std::string> names;
  for (const EpochRecord& record : epochs)
    for (const auto& [name, value] : record.values())
      if (std::ranges::count(names, name) == 0) names.push_back(name);
  return names;
}

// NaN in the place of what an epoch did not measure.
std::vector<double> column_of(const std::vector<EpochRecord>& epochs, const std::string& name) {
  std::vector<double> column;
  for (const EpochRecord& record : epochs)
    column.push_back(record.contains(name) ? record[name] : std::numeric_limits<double>::quiet_NaN());
  return column;
}

// A name by that which the state has for it.
using Renamed = std::vector<std::pair<std::string, std::string>>;

// No more memory than the file's columns take: what `epochs` claims is compared with them first.
std::vector<EpochRecord> epochs_of(const Attributes& a, const Renamed& columns, int64_t epochs) {
  check<FormatError>(epochs == 0 || !columns.empty(), "training state: nothing was measured in ", epochs, " epochs");
  std::set<std::string> names;
  for (const auto& [saved_name, name] : columns) {
    check<FormatError>(names.insert(name).second, "training state: ", detail::quote(name), " is there twice");
    const size_t length = a.get<std::vector<double>>(key_of_epochs(saved_name)).size();
    check<FormatError>(std::cmp_equal(length, epochs), "training state: ", detail::quote(name), " of ", length,
                       " epochs, of ", epochs, " expected");
  }
  std::vector<EpochRecord::Values> values(static_cast<size_t>(epochs));
  for (const auto& [saved_name, name] : columns) {
    const auto column = a.get<std::vector<double>>(key_of_epochs(saved_name));
    for (size_t i = 0; i < column.size(); ++i) values[i].emplace_back(name, column[i]);
  }
  return {std::make_move_iterator(values.begin()), std::make_move_iterator(values.end())};
}

// Before runs could measure anything else, this was what they measured, and images what they trained on.
const Renamed kEarlierNames{
    {"train_loss", "train_loss"},       {"train_accuracy", "train_accuracy"},         {"test_loss", "test_loss"},
    {"test_accuracy", "test_accuracy"}, {"images_per_second", "examples_per_second"}, {"seconds", "seconds"}};

bool is_of_earlier_version(const Attributes& a) { return a.contains("correct"); }

TrainingProgress of_earlier_version(const Attributes& a) {
  TrainingProgress progress;
  const int64_t images = count_of(a, "images"), correct = count_of(a, "correct");
  progress.current = {.steps = count_of(a, "step"), .examples = images, .seconds = a.get<double>("seconds")};
  if (images > 0) {
    progress.current.means.add("loss", a.get<double>("loss_sum"), images);
    progress.current.means.add("accuracy", static_cast<double>(correct), images);
  }
  progress.epochs = epochs_of(a, kEarlierNames, count_of(a, "epoch"));
  return progress;
}

}  // namespace

bool EpochRecord::contains(std::string_view name) const {
  return std::ranges::any_of(values_, [&](const auto& value) { return value.first == name; });
}

double EpochRecord::operator[](std::string_view name) const {
  for (const auto& [own, value] : values_)
    if (own == name) return value;
  std::string known;
  for (const auto& [own, value] : values_) known += (known.empty() ? "" : ", ") + own;
  throw ValueError(str("nothing called ", detail::quote(name), " was measured; there are: ", known));
}

std::string TrainingProgress::described() const {
  if (epoch() > 0 && current.steps == 0) return str("epoch ", epoch());
  return str("step ", current.steps, " of epoch ", epoch() + 1);
}

Attributes TrainingProgress::to_attributes() const {
  Attributes a{
      {"epoch", epoch()}, {"step", current.steps}, {"examples", current.examples}, {"seconds", current.seconds}};
  if (lr) a.set("lr", *lr);
  if (epoch_steps) a.set("epoch_steps", *epoch_steps);
  a.set("first_epoch", first_epoch);
  std::vector<std::string> names;
  for (const Means::Mean& mean : current.means.all()) {
    names.push_back(mean.name);
    a.set(key_of_sum(mean.name), mean.sum);
    a.set(key_of_examples(mean.name), mean.examples);
  }
  set_names(a, "means", names);
  const std::vector<std::string> columns = names_of(epochs);
  for (const std::string& name : columns) a.set(key_of_epochs(name), column_of(epochs, name));
  set_names(a, "columns", columns);
  a.set_all("callbacks.", callbacks);
  return a;
}

TrainingProgress TrainingProgress::from_attributes(const Attributes& a) {
  if (is_of_earlier_version(a)) return of_earlier_version(a);
  TrainingProgress progress;
  progress.current = {
      .steps = count_of(a, "step"), .examples = count_of(a, "examples"), .seconds = a.get<double>("seconds")};
  if (a.contains("lr")) progress.lr = a.get<double>("lr");
  if (a.contains("epoch_steps")) progress.epoch_steps = count_of(a, "epoch_steps");
  progress.first_epoch = count_of(a, "first_epoch");
  for (const std::string& name : names_in(a, "means"))
    progress.current.means.add(name, a.get<double>(key_of_sum(name)), count_of(a, key_of_examples(name)));
  Renamed columns;
  for (const std::string& name : names_in(a, "columns")) columns.emplace_back(name, name);
  progress.epochs = epochs_of(a, columns, count_of(a, "epoch"));
  progress.callbacks = a.part("callbacks.");
  return progress;
}

}  // namespace thimble
