// Element types and how to dispatch on them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string_view>
#include <type_traits>

#include <thimble/core/api.h>
#include <thimble/core/bfloat16.h>
#include <thimble/core/error.h>
#include <thimble/core/float16.h>

namespace thimble {

/// float32 and float64 are differentiable and computed in; the others are storage types, of which bfloat16 is what
/// mixed precision keeps activations in (core/autocast.h). bool_ is called "bool"; its elements are bytes of 0 or 1.
enum class DType : uint8_t {
  float32,
  float64,
  bfloat16,
  int32,
  int64,
  int8,
  uint8,
  float16,
  int16,
  uint16,
  uint32,
  uint64,
  bool_
};

inline constexpr DType kAllDTypes[] = {DType::float32, DType::float64, DType::bfloat16, DType::int32, DType::int64,
                                       DType::int8,    DType::uint8,   DType::float16,  DType::int16, DType::uint16,
                                       DType::uint32,  DType::uint64,  DType::bool_};

/// Bytes of one element.
THIMBLE_API size_t itemsize(DType dtype);

/// "float32", "int8", ...
THIMBLE_API std::string_view name(DType dtype);

/// The inverse of name(); throws ValueError for an unknown name.
THIMBLE_API DType dtype_from_name(std::string_view name);

inline bool is_differentiable(DType d) { return d == DType::float32 || d == DType::float64; }
/// Whether gradients flow through what an op gives: float32, float64, and in mixed precision bfloat16.
inline bool carries_gradients(DType d) { return is_differentiable(d) || d == DType::bfloat16; }
inline bool is_floating_point(DType d) { return is_differentiable(d) || d == DType::bfloat16 || d == DType::float16; }

/// Throws a DTypeError that names `op` and says what to do, unless the dtype can be computed in.
THIMBLE_API void check_differentiable(DType dtype, std::string_view op);

inline std::ostream& operator<<(std::ostream& out, DType dtype) { return out << name(dtype); }

namespace detail {
template <typename T>
constexpr bool always_false = false;
}  // namespace detail

/// Whether a C++ type is computed in by way of float.
template <typename T>
constexpr bool is_16_bit_float = std::is_same_v<T, bfloat16> || std::is_same_v<T, float16>;

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
  else if constexpr (std::is_same_v<T, float16>)
    return DType::float16;
  else if constexpr (std::is_same_v<T, int16_t>)
    return DType::int16;
  else if constexpr (std::is_same_v<T, uint16_t>)
    return DType::uint16;
  else if constexpr (std::is_same_v<T, uint32_t>)
    return DType::uint32;
  else if constexpr (std::is_same_v<T, uint64_t>)
    return DType::uint64;
  else if constexpr (std::is_same_v<T, bool>)
    return DType::bool_;
  else
    static_assert(detail::always_false<T>, "not a Thimble element type");
}();

/// Names a C++ type as a value, for dispatch:
///
///   auto bytes = [](auto tag) { return sizeof(typename decltype(tag)::type); };
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
    case DType::float16:
      return f(TypeTag<float16>{});
    case DType::int16:
      return f(TypeTag<int16_t>{});
    case DType::uint16:
      return f(TypeTag<uint16_t>{});
    case DType::uint32:
      return f(TypeTag<uint32_t>{});
    case DType::uint64:
      return f(TypeTag<uint64_t>{});
    case DType::bool_:
      return f(TypeTag<bool>{});
  }
  throw DTypeError("unknown dtype");
}

/// Calls f with the TypeTag of the unsigned integer that is as wide as the dtype: for what only moves elements.
template <typename F>
decltype(auto) dispatch_width(DType dtype, F&& f) {
  switch (itemsize(dtype)) {
    case 1:
      return f(TypeTag<uint8_t>{});
    case 2:
      return f(TypeTag<uint16_t>{});
    case 4:
      return f(TypeTag<uint32_t>{});
    default:
      return f(TypeTag<uint64_t>{});
  }
}

/// Calls f with the TypeTag of float or double; throws DTypeError that names `op` for anything else.
template <typename F>
decltype(auto) dispatch_float(DType dtype, std::string_view op, F&& f) {
  check_differentiable(dtype, op);
  return dtype == DType::float32 ? f(TypeTag<float>{}) : f(TypeTag<double>{});
}

}  // namespace thimble
