#include <unordered_map>

#include <thimble/nn/inference/shared_weights.h>

namespace thimble::nn {

namespace {

// By address. Who holds a SharedWeights holds the memory, too.
class WeightsByMemory {
 public:
  std::shared_ptr<SharedWeights> of(const void* address) {
    std::lock_guard lock(mutex_);
    std::weak_ptr<SharedWeights>& known = known_[address];
    if (auto held = known.lock()) return held;
    std::shared_ptr<SharedWeights> made(new SharedWeights, [this, address](const SharedWeights* weights) {
      delete weights;
      forget(address);
    });
    known = made;
    return made;
  }

 private:
  void forget(const void* address) {
    std::lock_guard lock(mutex_);
    const auto it = known_.find(address);
    if (it != known_.end() && it->second.expired()) known_.erase(it);
  }

  std::mutex mutex_;
  std::unordered_map<const void*, std::weak_ptr<SharedWeights>> known_;
};

// Never destroyed: layers may outlive what is.
WeightsByMemory& weights_by_memory() {
  static auto* const all = new WeightsByMemory;
  return *all;
}

}  // namespace

std::shared_ptr<SharedWeights> WeightsOfMemory::of(const NDArray& weight) {
  std::lock_guard lock(mutex_);
  if (held_.defined() && held_.shares_memory_with(weight) && held_.address() == weight.address()) return weights_;
  weights_ = nullptr;
  held_ = NDArray();
  if (!weight.is_contiguous() || !(weight.is_sole_owner() || weight.is_copy_on_write())) return nullptr;
  NDArray held = weight.lazy_clone();
  weights_ = weights_by_memory().of(held.address());
  held_ = std::move(held);
  return weights_;
}

}  // namespace thimble::nn
