#include <thimble/core/text.h>
#include <thimble/nn/graph/sample.h>

namespace thimble::nn {

namespace {

constexpr const char *kDType = "dtype", *kShape = "sample_shape";

}  // namespace

Attributes sample_attributes(const Tensor& example) {
  if (example.ndim() == 0) return {};
  Shape shape = example.shape();
  shape.erase(0);
  return {{kDType, std::string(name(example.dtype()))}, {kShape, shape.to_vector()}};
}

std::optional<Sample> sample_of(const Node& input) {
  if (!input.attributes.contains(kShape)) return std::nullopt;
  const auto sizes = input.attributes.get<std::vector<int64_t>>(kShape);
  check<FormatError>(sizes.size() < Shape::kMaxDims, "graph: ", kShape, " of ", thimble::detail::quote(input.name),
                     " has ", sizes.size(), " sizes, expected at most ", Shape::kMaxDims - 1);
  const auto dtype = input.attributes.get<std::string>(kDType);
  try {
    return Sample{dtype_from_name(dtype), Shape(sizes)};
  } catch (const ValueError& e) {
    throw FormatError(str("graph: ", kDType, " of ", thimble::detail::quote(input.name), ": ", e.what()));
  }
}

}  // namespace thimble::nn
