// Weights in the order that kernels want them, made once and shared by all steps of a layer: those of other input
// shapes differ in their sizes alone.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace thimble::nn {

/// Of one layer. Holds nothing itself: what no step uses any more is gone. May be called from several threads.
class SharedWeights {
 public:
  /// What the weights depend on besides the layer's own, so that each key has one type of values.
  using Key = std::vector<int64_t>;

  /// What make() gave for this key, as long as somebody holds it; else what it gives now.
  template <typename T, typename Make>
  std::shared_ptr<const T> get(const Key& key, Make&& make) {
    std::lock_guard lock(mutex_);
    if (const auto it = known_.find(key); it != known_.end())
      if (auto held = std::static_pointer_cast<const T>(it->second.lock())) return held;
    std::erase_if(known_, [](const auto& entry) { return entry.second.expired(); });
    auto made = std::make_shared<const T>(make());
    known_[key] = made;
    return made;
  }

 private:
  std::mutex mutex_;
  std::map<Key, std::weak_ptr<const void>> known_;
};

}  // namespace thimble::nn
