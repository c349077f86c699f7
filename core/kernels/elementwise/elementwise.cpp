#include <algorithm>

#include <thimble/core/kernels/elementwise/bf16_rows.h>
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

// Elements of bfloat16 that are widened at a time, in memory that stays in the first level cache.
constexpr int64_t kBf16Elements = 1024;

const uint16_t* bits(const NDArray& x) { return static_cast<const uint16_t*>(x.raw()); }

// A row's next elements as float32; those of one that is repeated are one.
struct WideRow {
  WideRow(const uint16_t* row, int64_t distance) : x(row), stride(distance) {}

  const uint16_t* x;
  int64_t stride;
  float values[kBf16Elements];  // not set

  void load(const Bf16Rows& rows, int64_t first, int64_t n) {
    if (stride == 0) return rows.widen(x, 1, values);
    if (stride == 1) return rows.widen(x + first, n, values);
    for (int64_t i = 0; i < n; ++i) rows.widen(x + (first + i) * stride, 1, values + i);
  }
  int64_t step() const { return stride == 0 ? 0 : 1; }
};

template <typename Body>
void for_each_part(int64_t n, Body&& body) {
  for (int64_t i = 0; i < n; i += kBf16Elements) body(i, std::min(kBf16Elements, n - i));
}

void unary_bf16(UnaryRow<float> row, const NDArray& x, NDArray& out, float p0, float p1) {
  const StridedPlan<2> plan(out.shape(), {&x.strides(), &out.strides()});
  const Bf16Rows& rows = bf16_rows();
  auto* pout = static_cast<uint16_t*>(out.raw());
  plan.for_each_row(kElementwiseGrain, [&](const std::array<int64_t, 2>& at, int64_t n) {
    WideRow in(bits(x) + at[0], plan.inner(0));
    float values[kBf16Elements];
    for_each_part(n, [&](int64_t i, int64_t count) {
      in.load(rows, i, count);
      row(in.values, in.step(), values, count, p0, p1);
      rows.round(values, count, pout + at[1] + i);
    });
  });
}

void binary_bf16(BinaryRow<float> row, const NDArray& a, const NDArray& b, NDArray& out, float p0, float p1) {
  const StridedPlan<3> plan(out.shape(), {&a.strides(), &b.strides(), &out.strides()});
  const Bf16Rows& rows = bf16_rows();
  auto* pout = static_cast<uint16_t*>(out.raw());
  plan.for_each_row(kElementwiseGrain, [&](const std::array<int64_t, 3>& at, int64_t n) {
    WideRow left(bits(a) + at[0], plan.inner(0)), right(bits(b) + at[1], plan.inner(1));
    float values[kBf16Elements];
    for_each_part(n, [&](int64_t i, int64_t count) {
      left.load(rows, i, count);
      right.load(rows, i, count);
      row(left.values, left.step(), right.values, right.step(), values, count, p0, p1);
      rows.round(values, count, pout + at[2] + i);
    });
  });
}

template <typename T>
void chosen_row(const uint8_t* condition, int64_t sc, const T* a, int64_t sa, const T* b, int64_t sb, T* out,
                int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = condition[i * sc] ? a[i * sa] : b[i * sb];
}

}  // namespace

void unary(Unary function, const NDArray& x, NDArray& out, double p0, double p1) {
  if (out.dtype() == DType::bfloat16)
    return unary_bf16(table().float32.unary[static_cast<int>(function)], x, out, static_cast<float>(p0),
                      static_cast<float>(p1));
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
  if (out.dtype() == DType::bfloat16)
    return binary_bf16(table().float32.binary[static_cast<int>(function)], wide_a, wide_b, out, static_cast<float>(p0),
                       static_cast<float>(p1));
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
    auto* pout = static_cast<uint8_t*>(out.raw());
    const StridedPlan<3> plan(out.shape(), {&wide_a.strides(), &wide_b.strides(), &out.strides()});
    plan.for_each_row(kElementwiseGrain, [&](const std::array<int64_t, 3>& at, int64_t n) {
      row(pa + at[0], plan.inner(0), pb + at[1], plan.inner(1), pout + at[2], n);
    });
  });
}

void where(const NDArray& condition, const NDArray& a, const NDArray& b, NDArray& out) {
  const NDArray wide_c = condition.broadcast_to(out.shape());
  const NDArray wide_a = a.broadcast_to(out.shape()), wide_b = b.broadcast_to(out.shape());
  const StridedPlan<4> plan(out.shape(), {&wide_c.strides(), &wide_a.strides(), &wide_b.strides(), &out.strides()});
  const auto* pc = static_cast<const uint8_t*>(wide_c.raw());
  const auto run = [&](auto row, auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    const auto *pa = static_cast<const T*>(wide_a.raw()), *pb = static_cast<const T*>(wide_b.raw());
    auto* pout = static_cast<T*>(out.raw());
    plan.for_each_row(kElementwiseGrain, [&](const std::array<int64_t, 4>& at, int64_t n) {
      row(pc + at[0], plan.inner(0), pa + at[1], plan.inner(1), pb + at[2], plan.inner(2), pout + at[3], n);
    });
  };
  // Elements are moved, whatever they are.
  switch (itemsize(out.dtype())) {
    case 1:
      return run(chosen_row<uint8_t>, static_cast<uint8_t*>(nullptr));
    case 2:
      return run(chosen_row<uint16_t>, static_cast<uint16_t*>(nullptr));
    case 4:
      return run(table().float32.where, static_cast<float*>(nullptr));
    default:
      return run(table().float64.where, static_cast<double*>(nullptr));
  }
}

}  // namespace thimble::kernels
