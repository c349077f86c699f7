#include "apps/training_progress.h"

namespace thimble::apps {

namespace {

constexpr const char* kEpochs = "epochs.";

}  // namespace

Attributes TrainingProgress::to_attributes() const {
  Attributes a{{"epoch", epoch()},           {"step", current.steps},        {"images", current.images},
               {"correct", current.correct}, {"loss_sum", current.loss_sum}, {"seconds", current.seconds}};
  const EpochRecord none;
  EpochRecord::for_each(none, [&](const std::string& name, double) {
    std::vector<double> column;
    for (const EpochRecord& record : epochs)
      EpochRecord::for_each(record, [&](const std::string& other, double value) {
        if (other == name) column.push_back(value);
      });
    a.set(kEpochs + name, column);
  });
  return a;
}

TrainingProgress TrainingProgress::from_attributes(const Attributes& a) {
  const auto count = [&](const char* name) {
    const auto value = a.get<int64_t>(name);
    check<FormatError>(value >= 0, "training state: ", name, " is ", value);
    return value;
  };
  TrainingProgress progress;
  progress.current = {count("step"), count("images"), count("correct"), a.get<double>("loss_sum"),
                      a.get<double>("seconds")};
  const int64_t epochs = count("epoch");
  EpochRecord none;
  EpochRecord::for_each(none, [&](const std::string& name, double) {
    const auto column = a.get<std::vector<double>>(kEpochs + name);
    check<FormatError>(std::ssize(column) == epochs, "training state: ", name, " of ", column.size(), " epochs, of ",
                       epochs, " expected");
    progress.epochs.resize(column.size());
    for (size_t i = 0; i < column.size(); ++i)
      EpochRecord::for_each(progress.epochs[i], [&](const std::string& other, double& value) {
        if (other == name) value = column[i];
      });
  });
  return progress;
}

}  // namespace thimble::apps
