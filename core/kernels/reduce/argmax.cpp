#include <algorithm>
#include <type_traits>

#include <thimble/core/kernels/elementwise/strided_dims.h>
#include <thimble/core/kernels/reduce/argmax.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr int64_t kGrain = 16384;

template <typename T>
int64_t first_largest(const T* x, int64_t n, int64_t stride) {
  using Ordered = std::conditional_t<is_16_bit_float<T>, float, T>;
  int64_t best = 0;
  Ordered largest = static_cast<Ordered>(x[0]);
  for (int64_t i = 1; i < n && largest == largest; ++i) {
    const Ordered value = static_cast<Ordered>(x[i * stride]);
    if (value > largest || value != value) {
      largest = value;
      best = i;
    }
  }
  return best;
}

}  // namespace

void argmax(const NDArray& x, int axis, NDArray& out) {
  StridedDims kept;
  for (int d = 0; d < x.ndim(); ++d)
    if (d != axis) kept.add(x.shape(d), x.strides()[d]);
  const int64_t n = x.shape(axis), stride = x.strides()[axis];
  int64_t* index = out.data<int64_t>();
  dispatch(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* data = x.data<T>();
    parallel_for(out.numel(), std::max<int64_t>(1, kGrain / n), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) index[i] = first_largest(data + kept.offset(i), n, stride);
    });
  });
}

}  // namespace thimble::kernels
