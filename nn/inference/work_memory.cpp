#include <algorithm>
#include <utility>

#include <thimble/core/memory.h>
#include <thimble/nn/inference/work_memory.h>

namespace thimble::nn {

// The smallest idle block that is large enough. If none is, the largest makes way for the new one: what runs at a time
// is so many blocks, of the sizes that it needs.
WorkMemory::Block::Memory WorkMemory::take(size_t bytes) {
  Block::Memory memory;
  {
    std::lock_guard lock(mutex_);
    auto it = std::ranges::lower_bound(idle_, bytes, {}, &Block::Memory::bytes);
    if (it == idle_.end() && !idle_.empty()) --it;
    if (it != idle_.end()) {
      memory = std::move(*it);
      idle_.erase(it);
      idle_bytes_ -= memory.bytes;
    }
  }
  if (memory.bytes >= bytes && memory.data) return memory;
  memory = {};
  return {bytes, allocate(std::max<size_t>(bytes, 1))};
}

void WorkMemory::give_back(Block::Memory memory) noexcept {
  std::lock_guard lock(mutex_);
  if (memory.bytes > kMostIdleBytes - idle_bytes_) return;
  try {
    const size_t bytes = memory.bytes;
    idle_.insert(std::ranges::lower_bound(idle_, bytes, {}, &Block::Memory::bytes), std::move(memory));
    idle_bytes_ += bytes;
  } catch (...) {  // no memory for the list: the block goes
  }
}

}  // namespace thimble::nn
