// Element types and how to dispatch on them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string_view>
#include <type_traits>

#include <thimble/core/bfloat16.h>
#include <thimble/core/error.h>

namespace thimble {

/// float32 and float64 are differentiable and computed in; the others are storage types.
enum class DType : uint8_t { float32, float64, bfloat16, int32, int64, int8, uint8 };

/// Bytes of one element.
size_t itemsize(DType dtype);

/// "float32", "int8", ...
std::string_view name(DType dtype);

/// The inverse of name(); throws ValueError for an unknown name.
DType dtype_from_name(std::string_view name);

inline bool is_floating_point(DType d) { return d == DType::float32 || d == DType::float64 || d == DType::bfloat16; }
inline bool is_differentiable(DType d) { return d == DType::float32 || d == DType::float64; }

inline std::ostream& operator<<(std::ostream& out, DType dtype) { return out << name(dtype); }

namespace detail {
template <typename T>
constexpr bool always_false = false;
}

/// dtype_of<float> == DType::float32, and so on.
template <typename T>
constexpr DType dtype_of = [] {
  if constexpr (std::is_same_v<T, float>)
    return DType::float32;
  else if constexpr (std::is_same_v<T, double>)
    return DType::float64;
  else if constexpr (std::is_same_v<T, bfloat16>)
    return DType::bfloat16;
  else if constexpr (std::is_same_v<T, int32_t>)
    return DType::int32;
  else if constexpr (std::is_same_v<T, int64_t>)
    return DType::int64;
  else if constexpr (std::is_same_v<T, int8_t>)
    return DType::int8;
  else if constexpr (std::is_same_v<T, uint8_t>)
    return DType::uint8;
  else
    static_assert(detail::always_false<T>, "not a Thimble element type");
}();

/// Names a C++ type as a value, for dispatch: `[&](auto tag) { using T = typename decltype(tag)::type; ... }`.
template <typename T>
struct TypeTag {
  using type = T;
};

/// Calls f with the TypeTag of any dtype.
template <typename F>
decltype(auto) dispatch(DType dtype, F&& f) {
  switch (dtype) {
    case DType::float32:
      return f(TypeTag<float>{});
    case DType::float64:
      return f(TypeTag<double>{});
    case DType::bfloat16:
      return f(TypeTag<bfloat16>{});
    case DType::int32:
      return f(TypeTag<int32_t>{});
    case DType::int64:
      return f(TypeTag<int64_t>{});
    case DType::int8:
      return f(TypeTag<int8_t>{});
    case DType::uint8:
      return f(TypeTag<uint8_t>{});
  }
  throw DTypeError("unknown dtype");
}

/// Calls f with the TypeTag of float or double; throws DTypeError that names `op` for anything else.
template <typename F>
decltype(auto) dispatch_float(DType dtype, std::string_view op, F&& f) {
  switch (dtype) {
    case DType::float32:
      return f(TypeTag<float>{});
    case DType::float64:
      return f(TypeTag<double>{});
    default:
      throw DTypeError(str(op, ": expects float32 or float64, got ", dtype));
  }
}

}  // namespace thimble
