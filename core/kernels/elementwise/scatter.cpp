#include <cstring>

#include <thimble/core/kernels/elementwise/scatter.h>
#include <thimble/core/kernels/elementwise/wide.h>

namespace thimble::kernels {

void scatter_rows(const NDArray& updates, const NDArray& rows, NDArray& out) {
  const auto bytes = static_cast<int64_t>(itemsize(out.dtype())) * out.shape(1);
  const int64_t* to = rows.data<int64_t>();
  const auto* from = static_cast<const char*>(updates.raw());
  if (bytes == 0) return;
  for (int64_t i = 0; i < rows.numel(); ++i)
    std::memcpy(static_cast<char*>(out.raw()) + to[i] * bytes, from + i * bytes, static_cast<size_t>(bytes));
}

void scatter_rows(IntegerBinary function, const NDArray& updates, const NDArray& rows, NDArray& out) {
  const int64_t width = out.shape(1);
  const int64_t* to = rows.data<int64_t>();
  dispatch_wide(out.dtype(), [&](auto tag) {
    using W = typename decltype(tag)::type;
    const auto combine = wide_function<W>(function);
    NDArray results(out.shape(), dtype_of<W>);
    results.copy_from(out);
    const NDArray terms = updates.to(dtype_of<W>);
    for (int64_t i = 0; i < rows.numel(); ++i) {
      W* row = results.data<W>() + to[i] * width;
      const W* term = terms.data<W>() + i * width;
      for (int64_t j = 0; j < width; ++j) row[j] = combine(row[j], term[j]);
    }
    out.copy_from(results);
  });
}

}  // namespace thimble::kernels
