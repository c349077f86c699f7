#include <iomanip>

#include <thimble/core/ndarray.h>

namespace thimble {

namespace {

constexpr int64_t kEdge = 3;          // items shown at each end of a long axis
constexpr int64_t kSummarize = 1000;  // arrays of more elements are abbreviated, as in NumPy

struct Printer {
  std::ostream& out;
  bool summarize;

  void element(const NDArray& x) const {
    if (is_floating_point(x.dtype()))
      out << x.item<double>();
    else if (x.dtype() == DType::bool_)
      out << (x.item<bool>() ? "True" : "False");
    else if (x.dtype() == DType::uint64)
      out << x.item<uint64_t>();
    else
      out << x.item<int64_t>();
  }

  void print(const NDArray& x) const {
    if (x.ndim() == 0) return element(x);
    const int64_t n = x.shape(0);
    out << '[';
    for (int64_t i = 0; i < n; ++i) {
      if (i > 0) out << ", ";
      if (summarize && n > 2 * kEdge && i == kEdge) {
        out << "..., ";
        i = n - kEdge;
      }
      print(x.slice(0, i, i + 1).squeeze(0));
    }
    out << ']';
  }
};

}  // namespace

std::ostream& operator<<(std::ostream& out, const NDArray& array) {
  if (!array.defined()) return out << "undefined";
  Printer{out, array.numel() > kSummarize}.print(array);
  return out;
}

}  // namespace thimble
