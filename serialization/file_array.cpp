#include <algorithm>
#include <bit>
#include <cstring>

#include <thimble/serialization/file_array.h>

namespace thimble::detail {

static_assert(std::endian::native == std::endian::little, "the files' data is little-endian and is used as it is");

bool size_fits(const Shape& shape, size_t itemsize) {
  auto bytes = static_cast<int64_t>(itemsize);
  return std::ranges::all_of(
      shape, [&](int64_t size) { return !__builtin_mul_overflow(bytes, std::max<int64_t>(size, 1), &bytes); });
}

NDArray array_over(std::byte* data, const Shape& shape, DType dtype, const std::shared_ptr<void>& owner) {
  const auto is_neither = [](std::byte b) { return b > std::byte{1}; };
  if (dtype == DType::bool_ && std::any_of(data, data + shape.numel(), is_neither))
    return NDArray::borrow(data, shape, DType::uint8, owner).to(DType::bool_);
  if (reinterpret_cast<uintptr_t>(data) % itemsize(dtype) == 0) return NDArray::borrow(data, shape, dtype, owner);
  NDArray out(shape, dtype);
  std::memcpy(out.raw(), data, static_cast<size_t>(out.nbytes()));
  return out;
}

}  // namespace thimble::detail
