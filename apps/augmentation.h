// --augment: what becomes of training pictures at random.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <thimble/nn/data/dataset.h>
#include <thimble/nn/data/transforms.h>

namespace CLI {
class App;
}

namespace thimble::apps {

/// A list such as "crop:4,flip,rotate:10,cutout:8,mixup:0.2", whose transforms follow one another in this order; mixup,
/// which is of whole batches, comes last.
class Augmentation {
 public:
  /// None.
  Augmentation() = default;
  /// Throws ValueError for an unknown name, one that is there twice, or a number that it cannot have.
  explicit Augmentation(const std::string& list);

  /// Adds --augment to a subcommand; `prefix` begins its help.
  static void add_to(CLI::App& command, std::string& list, const std::string& prefix = "");

  bool empty() const { return steps_.empty(); }

  /// The dataset with its first field, images [n, channels, height, width], transformed. Pictures of an ImageDataset
  /// are transformed before they are normalized and flattened, so what comes in from outside is black. Throws
  /// ValueError for other datasets.
  std::shared_ptr<const data::Dataset> of(const std::shared_ptr<const data::Dataset>& examples) const;
  /// Of batches, for DataLoaderOptions::transform; may be empty.
  data::BatchTransform of_batches(int64_t classes) const;
  /// Threads that a loader needs to keep up with training. What they draw depends on neither.
  int64_t workers() const;

 private:
  struct Step {
    std::string name;
    double amount;
  };
  std::vector<data::Transform> transforms(const Shape& image) const;

  std::vector<Step> steps_;
};

}  // namespace thimble::apps
