// Which entries of an index are in which bag, for loops over bags. Internal to kernels.
#pragma once

#include <algorithm>

#include <thimble/core/kernels/elementwise/embedding_bag.h>
#include <thimble/core/kernels/elementwise/strided.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

/// The entries of Bags whose index is of type I.
template <typename I>
class BagEntries {
 public:
  explicit BagEntries(const Bags& bags)
      : index_(bags.index.data<I>()),
        offsets_(bags.offsets.defined() ? bags.offsets.data<I>() : nullptr),
        entries_(bags.index.numel()),
        count_(bags.count),
        length_(bags.length),
        padding_(bags.padding) {}

  int64_t begin(int64_t bag) const { return offsets_ ? offsets_[bag] : bag * length_; }
  int64_t end(int64_t bag) const { return bag + 1 < count_ ? begin(bag + 1) : entries_; }
  int64_t entries() const { return entries_; }
  int64_t row(int64_t entry) const { return index_[entry]; }
  bool counts(int64_t entry) const { return row(entry) != padding_; }
  int64_t counted(int64_t bag) const {
    int64_t n = 0;
    for (int64_t i = begin(bag); i < end(bag); ++i) n += counts(i);
    return n;
  }

 private:
  const I *index_, *offsets_;
  int64_t entries_, count_, length_, padding_;
};

/// Calls f with the entries, by the index's type.
template <typename F>
void with_entries(const Bags& bags, F&& f) {
  bags.index.dtype() == DType::int32 ? f(BagEntries<int32_t>(bags)) : f(BagEntries<int64_t>(bags));
}

/// Calls body(bag) for each, on several threads where that is worth it.
template <typename Body>
void for_each_bag(const Bags& bags, int64_t columns, Body&& body) {
  const int64_t elements = columns * (1 + bags.index.numel() / std::max<int64_t>(1, bags.count));
  parallel_for(bags.count, std::max<int64_t>(1, kElementwiseGrain / std::max<int64_t>(1, elements)),
               [&](int64_t from, int64_t to) {
                 for (int64_t bag = from; bag < to; ++bag) body(bag);
               });
}

}  // namespace thimble::kernels
