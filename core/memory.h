// Aligned memory from a cache keyed by size: a training step asks for the same sizes again and again.
#pragma once

#include <cstddef>
#include <memory>

namespace thimble {

/// Memory of at least `bytes` bytes, aligned to 64, its content undefined; given back to the cache with the last
/// reference. Throws std::bad_alloc. Safe to call from any thread.
std::shared_ptr<void> allocate(size_t bytes);

/// Bytes that lie in the cache, unused.
size_t cached_bytes();

/// Gives all unused memory back to the system.
void empty_cache();

/// The most bytes that may lie in the cache unused. What is freed beyond them is given back to the system, what has
/// lain there longest first. At the start it is a quarter of the memory that the process may use (the machine's or its
/// container's).
size_t cache_limit();

/// Sets cache_limit() and gives back what is beyond it; 0 for no cache at all.
void set_cache_limit(size_t bytes);

}  // namespace thimble
