#include "apps/training_progress.h"

#include <string>

namespace thimble::apps {

namespace {

constexpr int64_t kMost = int64_t{1} << 40;  // more than any run has, and rates of such fit int64_t

std::string key_of(const EpochColumn& column) { return str("epochs.", column.name); }

}  // namespace

EpochRecord record_of(const EpochResult& epoch, const Evaluation& evaluation) {
  return {epoch.loss(),    epoch.accuracy(),          evaluation.accuracy,
          evaluation.loss, epoch.images_per_second(), epoch.seconds};
}

Attributes TrainingProgress::to_attributes() const {
  Attributes a{{"epoch", epoch()},           {"step", current.steps},        {"images", current.images},
               {"correct", current.correct}, {"loss_sum", current.loss_sum}, {"seconds", current.seconds}};
  for (const EpochColumn& column : kEpochColumns) {
    std::vector<double> values;
    for (const EpochRecord& record : epochs) values.push_back(record.*column.member);
    a.set(key_of(column), values);
  }
  return a;
}

TrainingProgress TrainingProgress::from_attributes(const Attributes& a) {
  const auto count = [&](const char* name) {
    const auto value = a.get<int64_t>(name);
    check<FormatError>(value >= 0 && value <= kMost, "training state: ", name, " is ", value);
    return value;
  };
  TrainingProgress progress;
  progress.current = {count("step"), count("images"), count("correct"), a.get<double>("loss_sum"),
                      a.get<double>("seconds")};
  const int64_t epochs = count("epoch");
  for (const EpochColumn& column : kEpochColumns) {
    const auto values = a.get<std::vector<double>>(key_of(column));
    check<FormatError>(std::ssize(values) == epochs, "training state: ", column.name, " of ", values.size(),
                       " epochs, of ", epochs, " expected");
    progress.epochs.resize(values.size());
    for (size_t i = 0; i < values.size(); ++i) progress.epochs[i].*column.member = values[i];
  }
  return progress;
}

}  // namespace thimble::apps
