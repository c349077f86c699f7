#include <cstring>

#include <thimble/core/text.h>
#include <thimble/nn/data/stack_examples.h>

namespace thimble::data {

NDArray stack_examples(std::span<const NDArray> examples, std::span<const int64_t> indices, std::string_view field) {
  const NDArray& first = examples[0];
  Shape shape = first.shape();
  shape.insert(0, std::ssize(examples));
  NDArray rows(shape, first.dtype());
  auto* to = static_cast<char*>(rows.raw());
  for (size_t i = 0; i < examples.size(); ++i) {
    const NDArray example = examples[i].contiguous();
    check<ShapeError>(example.shape() == first.shape(), "dataset: ", detail::quote(field), " of example ", indices[i],
                      " has shape ", example.shape(), ", that of others ", first.shape());
    check<DTypeError>(example.dtype() == first.dtype(), "dataset: ", detail::quote(field), " of example ", indices[i],
                      " is ", example.dtype(), ", that of others ", first.dtype());
    if (example.nbytes() > 0) std::memcpy(to, example.raw(), static_cast<size_t>(example.nbytes()));
    to += example.nbytes();
  }
  return rows;
}

}  // namespace thimble::data
