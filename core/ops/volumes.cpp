#include <algorithm>
#include <limits>

#include <thimble/core/ops/shape.h>
#include <thimble/core/ops/volumes.h>

namespace thimble {

void check_volume(std::string_view op, const Shape& x) {
  check<ShapeError>(x.ndim() == 5, op, ": input must be [batch, channels, depth, height, width], got ", x);
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  check<ShapeError>(std::ranges::all_of(x, [](int64_t size) { return size > 0 && size <= kMost; }), op, ": input ", x,
                    " is empty, or has a dimension beyond 2^31 - 1");
}

Tensor planes_of(const Tensor& volume) {
  const Tensor planes = permute(volume, {2, 0, 3, 4, 1});
  return reshape(reshape(planes, {-1}), planes.shape());
}

Tensor volume_of(const Tensor& planes) { return permute(planes, {1, 4, 0, 2, 3}); }

Tensor images_of(const Tensor& planes) {
  const Shape& s = planes.shape();
  return permute(reshape(planes, {s[0] * s[1], s[2], s[3], s[4]}), {0, 3, 1, 2});
}

Tensor planes_of(const Tensor& images, int64_t samples) {
  const Shape& s = images.shape();
  return reshape(permute(images, {0, 2, 3, 1}), {s[0] / samples, samples, s[2], s[3], s[1]});
}

Tensor some_planes(const Tensor& planes, int64_t first, int64_t count, int64_t step) {
  return slice(planes, 0, first, first + (count - 1) * step + 1, step);
}

}  // namespace thimble
