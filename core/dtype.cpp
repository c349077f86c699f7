#include <thimble/core/dtype.h>

namespace thimble {

namespace {
struct Entry {
  DType dtype;
  size_t size;
  std::string_view name;
};
// In the order of the enumeration.
constexpr Entry kTable[] = {
    {DType::float32, 4, "float32"}, {DType::float64, 8, "float64"}, {DType::bfloat16, 2, "bfloat16"},
    {DType::int32, 4, "int32"},     {DType::int64, 8, "int64"},     {DType::int8, 1, "int8"},
    {DType::uint8, 1, "uint8"},     {DType::float16, 2, "float16"}, {DType::int16, 2, "int16"},
    {DType::uint16, 2, "uint16"},   {DType::uint32, 4, "uint32"},   {DType::uint64, 8, "uint64"},
    {DType::bool_, 1, "bool"},
};
}  // namespace

size_t itemsize(DType dtype) { return kTable[static_cast<size_t>(dtype)].size; }

std::string_view name(DType dtype) { return kTable[static_cast<size_t>(dtype)].name; }

DType dtype_from_name(std::string_view name) {
  for (const Entry& entry : kTable)
    if (entry.name == name) return entry.dtype;
  throw ValueError(str("unknown dtype '", name, "'"));
}

void check_differentiable(DType dtype, std::string_view op) {
  check<DTypeError>(is_differentiable(dtype), op, ": expects float32 or float64, got ", dtype,
                    ", a storage type; convert it with NDArray::to()");
}

}  // namespace thimble
