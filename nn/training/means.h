// Means: what a pass over a dataset measures, by name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <thimble/core/api.h>

namespace thimble {

/// Means over examples under names, "loss" and "accuracy" say, that grow batch by batch.
class THIMBLE_API Means {
 public:
  /// One of them.
  struct Mean {
    std::string name;
    double sum = 0;
    int64_t examples = 0;
    int64_t times = 0;  ///< it was added to

    double value() const { return sum / static_cast<double>(examples); }
  };

  /// Adds the sum of something over so many examples. Throws ValueError for a negative number of them.
  void add(std::string_view name, double sum, int64_t examples);

  bool contains(std::string_view name) const;
  /// How often something was added under this name.
  int64_t times(std::string_view name) const;
  /// NaN as long as it is of no examples. Throws ValueError that lists the names if there is none of this.
  double operator[](std::string_view name) const;
  /// In the order in which their names were added first.
  const std::vector<Mean>& all() const { return means_; }

 private:
  std::vector<Mean> means_;
};

}  // namespace thimble
