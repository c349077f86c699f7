// A histogram of all values that came by, in constant memory.
#pragma once

#include <cstdint>

#include <thimble/core/api.h>
#include <thimble/core/ndarray.h>

namespace thimble::quant {

/// Where bins lie: bin i holds the values v with edge(i) <= v < edge(i + 1). Their width is a power of two and their
/// edges are its multiples, so that 0 is an edge, a value's bin is computed without rounding, and bins of one width
/// merge into those of a larger one.
struct THIMBLE_API BinGrid {
  static constexpr int64_t kMaxBins = 4096;

  int exponent = 0;   ///< bins are 2^exponent wide
  int64_t first = 0;  ///< edge(0) in widths
  int64_t bins = 1;

  /// The finest grid that holds min, max and 0: more than half of kMaxBins, unless all values are tiny.
  static BinGrid covering(float min, float max);

  double width() const;
  double edge(int64_t i) const { return static_cast<double>(first + i) * width(); }
  /// The number of bins below 0, which is also the index of the one that begins with it.
  int64_t bins_below_zero() const { return -first; }
  /// Throws nothing; v must be in some bin.
  int64_t bin_of(float v) const;
};

/// Counts on the BinGrid that covers the values seen. When it grows, bins are merged, so no count is lost; and as the
/// merged bins are those that the finer grid's values would have fallen into, a histogram depends on the values alone,
/// not on their order or division into batches.
class THIMBLE_API Histogram {
 public:
  /// An empty one.
  Histogram();
  /// One that was saved: counts (int64 [kMaxBins], shared, not copied) of values between min and max. Throws ValueError
  /// for what cannot be one.
  Histogram(float min, float max, NDArray counts);

  /// Counts x (float32, not empty), whose smallest and largest values are min and max, both finite.
  void add(const NDArray& x, float min, float max);

  bool empty() const { return min_ > max_; }
  /// Infinite if empty.
  float min() const { return min_; }
  float max() const { return max_; }
  const NDArray& counts() const { return counts_; }

  /// Of a histogram that is not empty.
  const BinGrid& grid() const { return grid_; }
  int64_t count(int64_t bin) const { return counts_.data<int64_t>()[bin]; }
  int64_t total() const;

 private:
  void widen(const BinGrid& grid);

  float min_, max_;
  NDArray counts_;
  BinGrid grid_;
};

}  // namespace thimble::quant
