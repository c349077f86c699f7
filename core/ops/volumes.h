// Volumes [n, c, d, h, w] as images, for ops that are made of those on images. Internal.
//
// Depth comes first then: planes [d, n, h, w, c]. Some planes that follow each other are images of all samples, which
// lie channels-last as ops on images want them, without a copy; and all that is along the depth is along the first
// axis.
#pragma once

#include <string_view>

#include <thimble/core/tensor.h>

namespace thimble {

/// Throws ShapeError, beginning with `op`, unless x is [n, c, d, h, w] with no size of 0, of sizes that can be reckoned
/// with.
void check_volume(std::string_view op, const Shape& x);

/// A volume as planes, dense in memory: a copy, unless it lies so.
Tensor planes_of(const Tensor& volume);
/// The reverse, always a view.
Tensor volume_of(const Tensor& planes);

/// Planes [d, n, h, w, c] as images [d * n, c, h, w]: a view, if the planes are dense.
Tensor images_of(const Tensor& planes);
/// The reverse.
Tensor planes_of(const Tensor& images, int64_t samples);

/// Planes first, first + step, ...
Tensor some_planes(const Tensor& planes, int64_t first, int64_t count, int64_t step = 1);

}  // namespace thimble
