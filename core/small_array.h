// A list whose size is known when it is made, without the heap for a few elements. Internal.
#pragma once

#include <array>
#include <span>
#include <vector>

namespace thimble {

/// `size` elements, made by T's default constructor.
template <typename T, size_t kFew = 8>
class SmallArray {
 public:
  explicit SmallArray(size_t size)
      : many_(size > kFew ? size : 0), all_(size > kFew ? std::span<T>(many_) : std::span<T>(few_).first(size)) {}
  SmallArray(const SmallArray&) = delete;
  SmallArray& operator=(const SmallArray&) = delete;

  T& operator[](size_t i) { return all_[i]; }
  size_t size() const { return all_.size(); }
  auto begin() const { return all_.begin(); }
  auto end() const { return all_.end(); }
  operator std::span<T>() const { return all_; }
  operator std::span<const T>() const requires(!std::is_const_v<T>) { return all_; }

 private:
  std::array<T, kFew> few_{};
  std::vector<T> many_;
  std::span<T> all_;
};

}  // namespace thimble
