#include <array>
#include <cstddef>
#include <vector>

#include <thimble/core/kernels/scratch.h>

namespace thimble::kernels {

uint8_t* thread_scratch(ScratchUse use, int64_t bytes) {
  struct alignas(64) Line {
    uint8_t bytes[64];
  };
  thread_local std::array<std::vector<Line>, static_cast<std::size_t>(ScratchUse::count)> memory;
  std::vector<Line>& lines = memory[static_cast<std::size_t>(use)];
  const auto needed = (static_cast<std::size_t>(bytes) + sizeof(Line) - 1) / sizeof(Line);
  if (lines.size() < needed) lines.resize(needed);
  return reinterpret_cast<uint8_t*>(lines.data());  // of no bytes, perhaps no memory
}

}  // namespace thimble::kernels
