#include <thimble/nn/data/dataset.h>

namespace thimble::data {

Batch Dataset::batch(std::span<const int64_t> indices) const {
  const int64_t count = size();
  for (int64_t i : indices)
    check<ValueError>(i >= 0 && i < count, "dataset: example ", i, " is out of range, there are ", count);
  Shape shape = image_shape();
  shape.insert(0, static_cast<int64_t>(indices.size()));
  NDArray images(shape, DType::float32), labels({shape[0]}, DType::int64);
  fill(indices, {images.data<float>(), static_cast<size_t>(images.numel())}, {labels.data<int64_t>(), indices.size()});
  return {std::move(images), std::move(labels)};
}

Tensor Dataset::example() const {
  const int64_t first = 0;
  return batch({&first, 1}).images;
}

}  // namespace thimble::data
