#include <thimble/core/kernels/elementwise/elementwise.h>
#include <thimble/core/kernels/elementwise/strided.h>
#include <thimble/core/kernels/kernel_list.h>

namespace thimble::kernels {

namespace {

constexpr KernelOf<const ElementwiseTable*> kKernels[] = {THIMBLE_X86_KERNELS(
    {Isa::avx512, &elementwise_avx512}, {Isa::avx2, &elementwise_avx2}){Isa::scalar, &elementwise_scalar}};

const ElementwiseTable& table() { return *best_kernel<kKernels>(); }

template <typename T>
const ElementwiseRows<T>& rows_for() {
  if constexpr (std::is_same_v<T, float>)
    return table().float32;
  else
    return table().float64;
}

}  // namespace

void unary(Unary function, const NDArray& x, NDArray& out, double p0, double p1) {
  dispatch_float(out.dtype(), "unary", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const UnaryRow<T> row = rows_for<T>().unary[static_cast<int>(function)];
    const T* px = x.data<T>();
    T* pout = out.data<T>();
    const StridedPlan<2> plan(out.shape(), {&x.strides(), &out.strides()});
    plan.for_each_row(kElementwiseGrain, [&](const std::array<int64_t, 2>& at, int64_t n) {
      row(px + at[0], plan.inner(0), pout + at[1], n, static_cast<T>(p0), static_cast<T>(p1));
    });
  });
}

void binary(Binary function, const NDArray& a, const NDArray& b, NDArray& out, double p0, double p1) {
  const NDArray wide_a = a.broadcast_to(out.shape()), wide_b = b.broadcast_to(out.shape());
  dispatch_float(out.dtype(), "binary", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const BinaryRow<T> row = rows_for<T>().binary[static_cast<int>(function)];
    const T *pa = wide_a.data<T>(), *pb = wide_b.data<T>();
    T* pout = out.data<T>();
    const StridedPlan<3> plan(out.shape(), {&wide_a.strides(), &wide_b.strides(), &out.strides()});
    plan.for_each_row(kElementwiseGrain, [&](const std::array<int64_t, 3>& at, int64_t n) {
      row(pa + at[0], plan.inner(0), pb + at[1], plan.inner(1), pout + at[2], n, static_cast<T>(p0),
          static_cast<T>(p1));
    });
  });
}

void compare(Compare function, const NDArray& a, const NDArray& b, NDArray& out) {
  const NDArray wide_a = a.broadcast_to(out.shape()), wide_b = b.broadcast_to(out.shape());
  dispatch_float(a.dtype(), "compare", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const CompareRow<T> row = rows_for<T>().compare[static_cast<int>(function)];
    const T *pa = wide_a.data<T>(), *pb = wide_b.data<T>();
    uint8_t* pout = out.data<uint8_t>();
    const StridedPlan<3> plan(out.shape(), {&wide_a.strides(), &wide_b.strides(), &out.strides()});
    plan.for_each_row(kElementwiseGrain, [&](const std::array<int64_t, 3>& at, int64_t n) {
      row(pa + at[0], plan.inner(0), pb + at[1], plan.inner(1), pout + at[2], n);
    });
  });
}

void where(const NDArray& condition, const NDArray& a, const NDArray& b, NDArray& out) {
  const NDArray wide_c = condition.broadcast_to(out.shape());
  const NDArray wide_a = a.broadcast_to(out.shape()), wide_b = b.broadcast_to(out.shape());
  dispatch_float(out.dtype(), "where", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const WhereRow<T> row = rows_for<T>().where;
    const auto* pc = static_cast<const uint8_t*>(wide_c.raw());
    const T *pa = wide_a.data<T>(), *pb = wide_b.data<T>();
    T* pout = out.data<T>();
    const StridedPlan<4> plan(out.shape(), {&wide_c.strides(), &wide_a.strides(), &wide_b.strides(), &out.strides()});
    plan.for_each_row(kElementwiseGrain, [&](const std::array<int64_t, 4>& at, int64_t n) {
      row(pc + at[0], plan.inner(0), pa + at[1], plan.inner(1), pb + at[2], plan.inner(2), pout + at[3], n);
    });
  });
}

}  // namespace thimble::kernels
