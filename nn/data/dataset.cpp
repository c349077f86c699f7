#include <thimble/nn/data/dataset.h>

namespace thimble::data {

Batch Dataset::batch(std::span<const int64_t> indices, const Generator& random) const {
  const int64_t count = size();
  for (int64_t i : indices)
    check<ValueError>(i >= 0 && i < count, "dataset: example ", i, " is out of range, there are ", count);
  Batch batch = make(indices, random);
  check<ShapeError>(batch.size() == std::ssize(indices), "dataset: made ", batch.size(), " examples of ",
                    indices.size());
  return batch;
}

Tensor Dataset::example() const {
  const int64_t first = 0;
  return batch({&first, 1}).fields()[0].second;
}

}  // namespace thimble::data
