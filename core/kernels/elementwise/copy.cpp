#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include <thimble/core/kernels/elementwise/bf16_rows.h>
#include <thimble/core/kernels/elementwise/copy.h>
#include <thimble/core/kernels/elementwise/copy_rows.h>
#include <thimble/core/kernels/elementwise/strided.h>
#include <thimble/core/kernels/elementwise/transpose.h>

namespace thimble::kernels {

namespace {

// A float outside an integer type's range is undefined behaviour in C++: saturate, and take NaN as 0.
template <typename To, typename From>
To convert(From value) {
  if constexpr (is_16_bit_float<From>) {
    return convert<To>(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, bool>) {
    return value != 0;
  } else if constexpr (std::is_integral_v<To> && std::is_floating_point_v<From>) {
    // 2^digits is the first value above the range, and exact in any floating type.
    constexpr From above = static_cast<From>(std::numeric_limits<To>::max() / 2 + 1) * From{2};
    constexpr From low = static_cast<From>(std::numeric_limits<To>::min());
    if (std::isnan(value)) return 0;
    if (value >= above) return std::numeric_limits<To>::max();
    if (value <= low) return std::numeric_limits<To>::min();
    return static_cast<To>(value);
  } else {
    return static_cast<To>(value);
  }
}

// Where the innermost dimension of the one array is the next to innermost of the other, as between channels-first and
// channels-last.
bool is_transposition(const StridedPlan<2>& plan) {
  const int last = plan.shape.ndim() - 1;
  return last >= 1 && plan.inner(1) == 1 && plan.inner(0) != 1 && plan.strides[0][last - 1] == 1;
}

template <typename T>
void copy_transposed(const StridedPlan<2>& plan, const T* source, T* target) {
  const int last = plan.shape.ndim() - 1;
  const int64_t columns = plan.shape[last], rows = plan.shape[last - 1];
  const auto transpose = [&](const std::array<int64_t, 2>& at, int64_t row_count) {
    const Transpose<T> matrix{source + at[0], plan.inner(0), target + at[1], plan.strides[1][last - 1]};
    matrix.run(row_count, columns);
  };
  // Small matrices, such as the groups of each pixel's channels, are taken several at a time.
  constexpr int64_t kSmall = 1024;
  if (last < 2 || rows * columns > kSmall) return plan.for_each_block(2, kElementwiseGrain, transpose);
  const int64_t from_step = plan.strides[0][last - 2], to_step = plan.strides[1][last - 2];
  plan.for_each_block(3, kElementwiseGrain, [&](std::array<int64_t, 2> at, int64_t count) {
    for (; count > 0; --count, at[0] += from_step, at[1] += to_step) transpose(at, rows);
  });
}

// Whose innermost dimension is dense in both.
template <typename T>
void copy_dense_rows(const StridedPlan<2>& plan, const T* source, T* target) {
  constexpr auto kBytes = static_cast<int64_t>(sizeof(T));
  const int last = plan.shape.ndim() - 1;
  const auto step = [&](int operand) { return plan.strides[operand][last - 1] * kBytes; };
  plan.for_each_block(2, kElementwiseGrain, [&](const std::array<int64_t, 2>& at, int64_t rows) {
    copy_rows(source + at[0], step(0), target + at[1], step(1), plan.shape[last] * kBytes, rows);
  });
}

template <typename From, typename To>
void copy_row(const From* from, int64_t n, To* to) {
  // Mixed precision converts activations all the time.
  if constexpr (std::is_same_v<From, bfloat16> && std::is_same_v<To, float>)
    bf16_rows().widen(reinterpret_cast<const uint16_t*>(from), n, to);
  else if constexpr (std::is_same_v<From, float> && std::is_same_v<To, bfloat16>)
    bf16_rows().round(from, n, reinterpret_cast<uint16_t*>(to));
  else
    for (int64_t i = 0; i < n; ++i) to[i] = convert<To>(from[i]);
}

template <typename From, typename To>
void copy_typed(const NDArray& from, NDArray& to) {
  const auto* source = static_cast<const From*>(from.raw());
  auto* target = static_cast<To*>(to.raw());
  const StridedPlan<2> plan(to.shape(), {&from.strides(), &to.strides()});
  const int64_t s = plan.inner(0), t = plan.inner(1);
  if constexpr (std::is_same_v<From, To>) {
    if (is_transposition(plan)) return copy_transposed(plan, source, target);
    if (plan.shape.ndim() > 1 && s == 1 && t == 1) return copy_dense_rows(plan, source, target);
  }
  plan.for_each_row(kElementwiseGrain, [&](const std::array<int64_t, 2>& at, int64_t n) {
    const From* in = source + at[0];
    To* out = target + at[1];
    if (s == 0 && t == 1) {
      std::fill_n(out, n, convert<To>(*in));
    } else if (s == 1 && t == 1) {
      copy_row(in, n, out);
    } else {
      for (int64_t i = 0; i < n; ++i) out[i * t] = convert<To>(in[i * s]);
    }
  });
}

// What holds every value of From.
template <typename From>
using Wide = std::conditional_t<std::is_floating_point_v<From> || is_16_bit_float<From>, double,
                                std::conditional_t<std::is_same_v<From, uint64_t>, uint64_t, int64_t>>;

// Pairs that programs convert all the time have loops of their own. With one for each of 13 x 12 pairs, conversions
// were a seventh of the library; the others go through Wide, block by block, which changes no value.
template <typename From, typename To>
constexpr bool kIsDirect = std::is_same_v<From, float> || std::is_same_v<To, float> ||
                           (std::is_same_v<From, int64_t> && std::is_same_v<To, int32_t>) ||
                           (std::is_same_v<From, int32_t> && std::is_same_v<To, int64_t>);

template <typename From>
void load_wide(const void* from, int64_t stride, int64_t n, Wide<From>* wide) {
  const auto* source = static_cast<const From*>(from);
  for (int64_t i = 0; i < n; ++i) wide[i] = convert<Wide<From>>(source[i * stride]);
}

template <typename W, typename To>
void store_wide(const W* wide, int64_t n, void* to, int64_t stride) {
  auto* target = static_cast<To*>(to);
  for (int64_t i = 0; i < n; ++i) target[i * stride] = convert<To>(wide[i]);
}

template <typename W>
void copy_through(const NDArray& from, NDArray& to, void (*load)(const void*, int64_t, int64_t, W*),
                  void (*store)(const W*, int64_t, void*, int64_t)) {
  const auto* source = static_cast<const std::byte*>(from.raw());
  auto* target = static_cast<std::byte*>(to.raw());
  const auto source_size = static_cast<int64_t>(itemsize(from.dtype())),
             target_size = static_cast<int64_t>(itemsize(to.dtype()));
  const StridedPlan<2> plan(to.shape(), {&from.strides(), &to.strides()});
  const int64_t s = plan.inner(0), t = plan.inner(1);
  plan.for_each_row(kElementwiseGrain, [&](const std::array<int64_t, 2>& at, int64_t n) {
    constexpr int64_t kBlock = 512;
    W wide[kBlock];
    for (int64_t i = 0; i < n; i += kBlock) {
      const int64_t count = std::min(kBlock, n - i);
      load(source + (at[0] + i * s) * source_size, s, count, wide);
      store(wide, count, target + (at[1] + i * t) * target_size, t);
    }
  });
}

template <typename From>
void copy_from(const NDArray& from, NDArray& to) {
  dispatch(to.dtype(), [&](auto tag) {
    using To = typename decltype(tag)::type;
    if constexpr (std::is_same_v<From, To>)
      return;  // see copy()
    else if constexpr (kIsDirect<From, To>)
      copy_typed<From, To>(from, to);
    else
      copy_through<Wide<From>>(from, to, load_wide<From>, store_wide<Wide<From>, To>);
  });
}

}  // namespace

void copy(const NDArray& from, NDArray& to) {
  if (from.dtype() == to.dtype()) {
    dispatch_width(from.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      copy_typed<T, T>(from, to);
    });
  } else {
    dispatch(from.dtype(), [&](auto tag) { copy_from<typename decltype(tag)::type>(from, to); });
  }
}

}  // namespace thimble::kernels
