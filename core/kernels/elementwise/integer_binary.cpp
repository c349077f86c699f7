#include <algorithm>
#include <type_traits>

#include <thimble/core/kernels/elementwise/integer_binary.h>

namespace thimble::kernels {

namespace {

template <typename W>
W minus(W x) {
  return static_cast<W>(uint64_t{0} - static_cast<uint64_t>(x));  // whose overflow is defined
}

template <typename W>
bool is_minus_one(W x) {
  return std::is_signed_v<W> && x == static_cast<W>(-1);
}

template <typename W>
W quotient(W a, W b) {
  check<ValueError>(b != 0, "div: an integer is divided by 0");
  return is_minus_one(b) ? minus(a) : static_cast<W>(a / b);  // the one quotient that does not fit wraps around
}

template <typename W>
W truncated_remainder(W a, W b) {
  check<ValueError>(b != 0, "remainder: an integer is divided by 0");
  return is_minus_one(b) ? W{0} : static_cast<W>(a % b);
}

template <typename W>
W floored_remainder(W a, W b) {
  const W r = truncated_remainder(a, b);
  return r != 0 && (r < 0) != (b < 0) ? static_cast<W>(r + b) : r;
}

template <typename W>
W power(W base, W exponent) {
  if (exponent < 0) {
    if (base == 0 || base == 1) return quotient(W{1}, base);
    const bool is_odd = (exponent & 1) != 0;
    return !is_minus_one(base) ? W{0} : is_odd ? base : W{1};
  }
  uint64_t result = 1, square = static_cast<uint64_t>(base);
  for (auto e = static_cast<uint64_t>(exponent); e > 0; e >>= 1, square *= square)
    if (e & 1) result *= square;
  return static_cast<W>(result);
}

bool is_beyond_the_width(uint64_t distance) { return distance >= 64; }

template <typename W>
W shifted_left(W a, W distance) {
  const auto d = static_cast<uint64_t>(distance);
  return is_beyond_the_width(d) ? W{0} : static_cast<W>(static_cast<uint64_t>(a) << d);
}

template <typename W>
W shifted_right(W a, W distance) {
  const auto d = static_cast<uint64_t>(distance);
  return is_beyond_the_width(d) ? static_cast<W>(a < 0 ? -1 : 0) : static_cast<W>(a >> d);
}

template <typename W>
constexpr IntegerFunction<W> kFunctions[] = {
    [](W a, W b) { return static_cast<W>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b)); },
    [](W a, W b) { return static_cast<W>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b)); },
    [](W a, W b) { return static_cast<W>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b)); },
    quotient<W>,
    power<W>,
    [](W a, W b) { return std::max(a, b); },
    [](W a, W b) { return std::min(a, b); },
    floored_remainder<W>,
    truncated_remainder<W>,
    [](W a, W b) { return static_cast<W>(a & b); },
    [](W a, W b) { return static_cast<W>(a | b); },
    [](W a, W b) { return static_cast<W>(a ^ b); },
    shifted_left<W>,
    shifted_right<W>,
};
static_assert(std::size(kFunctions<int64_t>) == static_cast<size_t>(IntegerBinary::count));

// In the order of Compare.
template <typename W>
constexpr bool (*kComparisons[])(W, W) = {
    [](W a, W b) { return a > b; },
    [](W a, W b) { return a >= b; },
    [](W a, W b) { return a == b; },
};

template <typename W, typename Result>
NDArray computed(Result (*function)(W, W), const NDArray& a, const NDArray& b, const Shape& shape) {
  NDArray values(shape, dtype_of<Result>);
  const NDArray x = a.to(dtype_of<W>).broadcast_to(shape).contiguous(),
                y = b.to(dtype_of<W>).broadcast_to(shape).contiguous();
  const W *from_x = x.data<W>(), *from_y = y.data<W>();
  auto* to = values.data<Result>();
  for (int64_t i = 0; i < values.numel(); ++i) to[i] = function(from_x[i], from_y[i]);
  return values;
}

}  // namespace

template <typename W>
IntegerFunction<W> integer_function(IntegerBinary function) {
  return kFunctions<W>[static_cast<size_t>(function)];
}
template IntegerFunction<int64_t> integer_function(IntegerBinary);
template IntegerFunction<uint64_t> integer_function(IntegerBinary);

void integer_binary(IntegerBinary function, const NDArray& a, const NDArray& b, NDArray& out) {
  out.copy_from(out.dtype() == DType::uint64 ? computed(integer_function<uint64_t>(function), a, b, out.shape())
                                             : computed(integer_function<int64_t>(function), a, b, out.shape()));
}

void integer_compare(Compare function, const NDArray& a, const NDArray& b, NDArray& out) {
  const auto index = static_cast<size_t>(function);
  out.copy_from(a.dtype() == DType::uint64 ? computed(kComparisons<uint64_t>[index], a, b, out.shape())
                                           : computed(kComparisons<int64_t>[index], a, b, out.shape()));
}

}  // namespace thimble::kernels
