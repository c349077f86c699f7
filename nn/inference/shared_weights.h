// Weights in the order that kernels want them, made once and shared by all steps of a layer: those of other input
// shapes differ in their sizes alone.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/ndarray.h>

namespace thimble::nn {

/// Of one layer, or of all whose weights are the same memory. Holds nothing itself: what no step uses any more is gone.
/// May be called from several threads.
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

/// A layer's way to the SharedWeights of all layers, in all graphs, whose weights are the same memory, as those of lazy
/// clones are (NDArray::lazy_clone()). Keys have to say what those layers do otherwise. May be called from several
/// threads.
class THIMBLE_API WeightsOfMemory {
 public:
  /// Null where the memory cannot be shared: who holds it besides could write to it. The last weight that it was called
  /// with is held, so that its memory does not become another's.
  std::shared_ptr<SharedWeights> of(const NDArray& weight);

 private:
  std::mutex mutex_;
  NDArray held_;
  std::shared_ptr<SharedWeights> weights_;  // of held_
};

}  // namespace thimble::nn
