// Bounds for the inputs that the program makes itself.
#pragma once

#include <string>
#include <vector>

#include <thimble/core/error.h>
#include <thimble/core/shape.h>

namespace thimble::apps {

/// The shape of one sample. The program makes inputs of it, in batches: neither a file nor a slip must make it take all
/// memory. Throws E, which names `what`, for more dimensions than leave room for the batch, sizes that are not
/// positive, and more than 2^22 elements, 3 x 1024 x 1024 and some.
template <typename E>
Shape checked_sample_shape(const std::string& what, const std::vector<int64_t>& sizes) {
  constexpr int64_t kMostElements = int64_t{1} << 22;
  check<E>(sizes.size() < Shape::kMaxDims, what, " has ", sizes.size(), " dimensions, expected at most ",
           Shape::kMaxDims - 1);
  const Shape shape(sizes);
  int64_t elements = 1;
  for (const int64_t size : shape) {
    check<E>(size >= 1 && size <= kMostElements / elements, what, " is ", shape,
             ", expected positive sizes and at most ", kMostElements, " elements");
    elements *= size;
  }
  return shape;
}

}  // namespace thimble::apps
