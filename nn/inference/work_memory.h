// The memory that programs of an executor run in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace thimble::nn {

/// Blocks for whoever runs, as many as run at the same time. Programs share them: one for a small shape takes what a
/// large one has left.
class WorkMemory {
 public:
  /// What may lie here unused; more goes back to allocate()'s cache.
  static constexpr size_t kMostIdleBytes = size_t{64} << 20;

  /// A block of at least this size while it lives, 64-byte aligned.
  class Block {
   public:
    Block(WorkMemory& from, size_t bytes) : from_(from), memory_(from.take(bytes)) {}
    ~Block() { from_.give_back(std::move(memory_)); }
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;

    uint8_t* data() const { return static_cast<uint8_t*>(memory_.data.get()); }

   private:
    friend class WorkMemory;
    struct Memory {
      size_t bytes = 0;
      std::shared_ptr<void> data;
    };

    WorkMemory& from_;
    Memory memory_;
  };

 private:
  Block::Memory take(size_t bytes);
  void give_back(Block::Memory memory) noexcept;

  std::mutex mutex_;
  std::vector<Block::Memory> idle_;  // the smallest first
  size_t idle_bytes_ = 0;
};

}  // namespace thimble::nn
